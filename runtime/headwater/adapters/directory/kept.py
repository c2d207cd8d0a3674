"""Upkeep as every table in a local directory has it; what is removed is the format's to say."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from headwater.adapters.directory.upkeep import is_due, pin, pins, sole, unpin
from headwater.ports import Swept, TableFile


class KeptTable(ABC):
    """The part of a `Table` that keeps it small: one process at a time, and not what is pinned."""

    _directory: Path

    def is_upkeep_due(self, now_ms: int) -> bool:
        """Whether the last upkeep is long ago, in versions or in time."""
        version = self.version()
        with self._reading():
            return version is not None and is_due(self._directory, version, now_ms)

    def tidy(self, now_ms: int, keep_ms: int) -> Swept | None:
        """Take away versions that nobody needs, and files that none of the others names."""
        version = self.version()
        if version is None:
            return None
        with self._writing(), sole(self._directory) as done:
            if done is None:
                return None
            swept = self._sweep(now_ms, keep_ms)
            done(version, now_ms)
            return swept

    def pins(self) -> Mapping[str, int]:
        """The versions that upkeep must leave alone."""
        with self._reading():
            return pins(self._directory)

    def pin(self, name: str, version: int) -> None:
        """Keep a version until `unpin`."""
        with self._writing():
            pin(self._directory, name, version, self.files)

    def unpin(self, name: str) -> bool:
        """Give a pinned version to upkeep."""
        with self._writing():
            return unpin(self._directory, name)

    # -- of the format ---------------------------------------------------------------------------

    @abstractmethod
    def version(self) -> int | None:
        """The newest version."""

    @abstractmethod
    def files(self, version: int | None = None) -> Sequence[TableFile]:
        """What a version consists of."""

    @abstractmethod
    def _sweep(self, now_ms: int, keep_ms: int) -> Swept:
        """Remove what no needed version has. The lock is held."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[None]: ...

    @abstractmethod
    def _writing(self) -> AbstractContextManager[None]: ...
