"""Stores that obey the laws, and writing to them with a few words."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from headwater.adapters.memory import MemoryStores
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.ports import LocalStores, Mark

MEMORY_BYTES: Final = 8 << 20
KINDS: Final[dict[str, Callable[[Path], LocalStores]]] = {
    "memory": lambda _: MemoryStores(),
    "rocksdb": lambda path: RocksDbStores(path, RocksDbMemory(MEMORY_BYTES)),
}


def mark(offset: int, changelog_id: str = "log") -> Mark:
    """A mark at an offset."""
    return Mark(changelog_id, offset, 1_700_000_000_000 + offset)
