"""Keyed state on this machine, as the state room needs it: a cache whose truth is a changelog."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

Keys = Sequence[bytes]
Values = Sequence[bytes | None]
"""One value per key; None is no value: where it is written, the key is deleted."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where a changelog is in a store: every record below `changelog_offset` is.

    A lower bound is right, for a changelog holds whole values: what is read twice is the same.
    `changelog_id` is the broker's id of that incarnation of the topic: the offsets of another one
    mean nothing. `written_ms` (milliseconds since the epoch) is when the store had all of it: a
    changelog keeps deletions for a time only, and a mark that is older vouches for nothing.
    """

    changelog_id: str
    changelog_offset: int
    written_ms: int


@dataclass(frozen=True, slots=True)
class StoreSize:
    """How much a store holds: entries as far as they can be counted cheaply, and bytes."""

    keys: int
    bytes: int


class LocalStore(Protocol):
    """The entries of one task of one step, by key.

    Every method may raise RebuildError when what is stored is damaged, and RetriableError
    (STATE_STORAGE) when the disk refuses: then nothing was done and the same call may be repeated.
    """

    def get(self, keys: Keys) -> list[bytes | None]:
        """The values of the keys, in their order."""
        ...

    def write(self, keys: Keys, values: Values, mark: Mark | None = None) -> None:
        """Write entries, and the mark with them, in one atomic write.

        Keys are ascending and distinct. Without a mark the one that is stored stays.
        """
        ...

    def scan(self, start: bytes, limit: int) -> tuple[list[bytes], list[bytes]]:
        """At most `limit` entries from the key `start` on, ascending by key."""
        ...

    def mark(self) -> Mark | None:
        """The mark of the last write that had one; None: nothing is known of what is stored."""
        ...

    def size(self) -> StoreSize:
        """How much is stored."""
        ...

    def close(self) -> None:
        """Let go of the task, for another process to open it; may be repeated."""
        ...


class LocalStores(Protocol):
    """The local stores of one step; one process at a time has a task open."""

    def open(self, task: int) -> LocalStore:
        """The store of a task; an empty one where there is none.

        Raises StateInUseError while another holds it, RebuildError when it is damaged, FatalError
        (STATE_FORMAT) when a later release wrote it, RetriableError when the disk refuses.
        """
        ...

    def discard(self, task: int) -> None:
        """Delete what is stored of a task that is not open.

        Raises StateInUseError while another holds it, RetriableError when the disk refuses.
        """
        ...


class CheckpointStorage(Protocol):
    """Whole objects by name, with slashes as in a path. Raises RetriableError (STATE_STORAGE).

    A call may take as long as a network does, and may be made in another thread.
    """

    @property
    def location(self) -> str:
        """Where it is, as the settings say it."""
        ...

    @property
    def workspace(self) -> Path:
        """A local directory to write objects in before they are put."""
        ...

    def names(self, prefix: str) -> list[str]:
        """The names that begin so, ascending."""
        ...

    def put(self, name: str, file: Path) -> None:
        """Take a local file over as an object: durable and whole under its name, or not there.

        When it raises, the file is still there.
        """
        ...

    def get(self, name: str) -> BinaryIO:
        """The object as a local file at its beginning, to be closed by who asks for it.

        Raises KeyError when there is none.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        ...

    def close(self) -> None:
        """Let go; a `put` or `get` that is under way in another thread may be given up."""
        ...
