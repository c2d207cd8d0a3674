"""Keyed state of a step: layers above a local store, and checkpoints. Never touches Kafka."""

from headwater.state.store import Changes, KeyedStore, StoreSettings, TimeToLive

__all__ = ["Changes", "KeyedStore", "StoreSettings", "TimeToLive"]
