"""Local stores in memory, with the same laws as those on disk. They live as long as this object."""

from bisect import bisect_left
from dataclasses import dataclass, field

from headwater.errors import StateInUseError
from headwater.ports import Mark, StoreSize
from headwater.ports.state import Keys, Values


@dataclass(slots=True)
class _Held:
    entries: dict[bytes, bytes] = field(default_factory=dict)
    mark: Mark | None = None
    is_open: bool = False


class MemoryStores:
    """The stores of one step."""

    def __init__(self) -> None:
        self._tasks: dict[int, _Held] = {}

    def open(self, task: int) -> "MemoryStore":
        """The store of a task; an empty one where there is none."""
        held = self._closed(task)
        held.is_open = True
        return MemoryStore(held)

    def discard(self, task: int) -> None:
        """Forget what is stored of a task that is not open."""
        self._closed(task)
        del self._tasks[task]

    def _closed(self, task: int) -> _Held:
        held = self._tasks.setdefault(task, _Held())
        if held.is_open:
            message = f"The store of task {task} is open already."
            raise StateInUseError(message)
        return held


class MemoryStore:
    """The entries of one task in a dict."""

    def __init__(self, held: _Held) -> None:
        self._held: _Held | None = held
        self._sorted: list[bytes] | None = None

    def get(self, keys: Keys) -> list[bytes | None]:
        """The values of the keys, in their order."""
        return list(map(self._open().entries.get, keys))

    def write(self, keys: Keys, values: Values, mark: Mark | None = None) -> None:
        """Write entries, and the mark with them."""
        held = self._open()
        for key, value in zip(keys, values, strict=True):
            if value is None:
                held.entries.pop(key, None)
            else:
                held.entries[key] = value
        held.mark = mark or held.mark
        self._sorted = None

    def scan(self, start: bytes, limit: int) -> tuple[list[bytes], list[bytes]]:
        """At most `limit` entries from the key `start` on, ascending by key."""
        entries = self._open().entries
        if self._sorted is None:
            self._sorted = sorted(entries)
        first = bisect_left(self._sorted, start)
        keys = self._sorted[first : first + limit]
        return keys, [entries[key] for key in keys]

    def mark(self) -> Mark | None:
        """The mark of the last write that had one."""
        return self._open().mark

    def size(self) -> StoreSize:
        """The entries, and the bytes of their keys and values."""
        entries = self._open().entries
        return StoreSize(len(entries), sum(map(len, entries)) + sum(map(len, entries.values())))

    def close(self) -> None:
        """Let go of the task; may be repeated."""
        if self._held is not None:
            self._held.is_open = False
            self._held = None

    def _open(self) -> _Held:
        if self._held is None:
            message = "the store is closed"
            raise ValueError(message)
        return self._held
