"""Upkeep as every table has it; what is removed is the format's to say."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from headwater.adapters.tables.files import TableFiles
from headwater.adapters.tables.upkeep import LOCK, is_due, mark, pin, pins, unpin
from headwater.errors import DamagedError
from headwater.ports import Swept, TableFile


class KeptTable(ABC):
    """The part of a `Table` that keeps it small: one process at a time, and not what is pinned."""

    _files: TableFiles
    _product: str

    def is_upkeep_due(self, now_ms: int) -> bool:
        """Whether the last upkeep is long ago, in versions or in time."""
        version = self.version()
        with self._reading():
            return version is not None and is_due(self._files, version, now_ms)

    def tidy(self, now_ms: int, keep_ms: int) -> Swept | None:
        """Take away versions that nobody needs, and files that none of the others names."""
        version = self.version()
        if version is None:
            return None
        with self._writing(), self._files.sole(LOCK) as write:
            if write is None:
                return None
            self.version()  # a pin may be of one that came before the lock was held
            self._require_pinned()
            swept = self._sweep(now_ms, keep_ms)
            write(mark(version, now_ms))
            return swept

    def pins(self) -> Mapping[str, int]:
        """The versions that upkeep must leave alone."""
        with self._reading():
            return pins(self._files)

    def pin(self, name: str, version: int) -> None:
        """Keep a version until `unpin`."""

        def require(version: int) -> None:
            self.version()  # upkeep may have let go of it before the lock was held
            self.files(version)

        with self._writing():
            pin(self._files, name, version, require)

    def unpin(self, name: str) -> bool:
        """Give a pinned version to upkeep."""
        with self._writing():
            return unpin(self._files, name)

    def _require_pinned(self) -> None:
        """Raises DamagedError where a pinned version is not whole: nobody knows what it needs."""
        for name, version in pins(self._files).items():
            try:
                self.files(version)
            except DamagedError as error:
                if error.code != "FILE_GONE":
                    raise
                raise DamagedError(
                    f"The pin {name} keeps version {version} of the snapshot in {self.location},"
                    f" which is not there any more, so nobody knows what it needs and nothing was"
                    f" removed. Restore the table from a copy that has it, or let go of the pin"
                    f" with `headwater pin {self._product} {name} --remove`."
                ) from error

    # -- of the format ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def location(self) -> str:
        """Where readers find it."""

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
