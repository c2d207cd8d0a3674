"""Keyed state of a step: layers above a local store, and checkpoints. Never touches Kafka."""

from headwater.state.checkpoint import Checkpoint, CheckpointWriter, Unusable, checkpoints
from headwater.state.settings import Changes, StoreSettings, TimeToLive
from headwater.state.store import KeyedStore

__all__ = [
    "Changes",
    "Checkpoint",
    "CheckpointWriter",
    "KeyedStore",
    "StoreSettings",
    "TimeToLive",
    "Unusable",
    "checkpoints",
]
