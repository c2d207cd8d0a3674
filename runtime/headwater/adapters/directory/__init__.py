"""Checkpoints in a local directory."""

from headwater.adapters.directory.storage import DirectoryStorage

__all__ = ["DirectoryStorage"]
