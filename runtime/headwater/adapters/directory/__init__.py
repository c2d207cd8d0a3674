"""Checkpoints and tables in a local directory."""

from headwater.adapters.directory.files import DirectoryFiles
from headwater.adapters.directory.storage import DirectoryStorage

__all__ = ["DirectoryFiles", "DirectoryStorage"]
