"""Keyed state of a step: layers above a local store, and checkpoints. Never touches Kafka."""

from headwater.state.checkpoint import Checkpoint, CheckpointWriter, Unusable, checkpoints
from headwater.state.store import Changes, KeyedStore, StoreSettings, TimeToLive

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
