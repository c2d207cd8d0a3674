"""Checkpoints as objects in a bucket."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event
from typing import BinaryIO, Final, cast

import obstore
from obstore.exceptions import BaseError

from headwater.adapters.objects.opening import PART_BYTES, PARTS_AT_ONCE, open_store
from headwater.adapters.objects.refusals import refusal
from headwater.errors import RetriableError, StartRefusedError


class ObjectStorage:
    """The objects below `s3://bucket/prefix`. Calls are bounded, and may be made in any thread.

    Local copies are made in the directory `workspace`.
    """

    def __init__(self, location: str, workspace: Path) -> None:
        self.location: Final = location
        self._workspace = workspace
        self._is_closed = Event()
        try:
            self._store = open_store(location)
        except ValueError as error:
            raise self._refused(str(error)) from error

    def require(self) -> None:
        """Ask the store whether we may look into it.

        Raises StartRefusedError (CHECKPOINT_STORE) when it says no for good: there is no such
        bucket, or the credentials are missing or wrong. What may pass is no reason to raise.
        """
        try:
            next(iter(obstore.list(self._store)), None)
        except (BaseError, OSError) as error:
            refused = refusal(error)
            if refused.is_definite:
                raise self._refused(refused.reason) from error

    @property
    def workspace(self) -> Path:
        """Where objects are written before they are put, and what is got is kept while it is read.

        On this machine.
        """
        with self._translated():
            self._workspace.mkdir(parents=True, exist_ok=True)
        return self._workspace

    def names(self, prefix: str) -> list[str]:
        """The names that begin so, ascending."""
        folder, _, _ = prefix.rpartition("/")
        with self._translated():
            pages = list(obstore.list(self._store, folder or None))
        found = (each["path"] for page in pages for each in page)
        return sorted(name for name in found if name.startswith(prefix))

    def put(self, name: str, file: Path) -> None:
        """Take a file over; it is there when all of its parts are, and only then."""
        with self._translated(), file.open("rb") as source:
            is_small = os.fstat(source.fileno()).st_size <= PART_BYTES
            obstore.put(
                self._store,
                name,
                source.read() if is_small else self._parts(source),
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        with suppress(FileNotFoundError):
            file.unlink()

    def get(self, name: str) -> BinaryIO:
        """A copy of the object, without a name: nothing of it is left when the process ends."""
        with self._translated():
            file = cast("BinaryIO", TemporaryFile(dir=self.workspace))  # noqa: SIM115  # the caller's
            try:
                size = obstore.head(self._store, name)["size"]
                for start in range(0, size, PART_BYTES):
                    self._require_open()
                    end = min(start + PART_BYTES, size)
                    file.write(obstore.get_range(self._store, name, start=start, end=end))
                file.seek(0)
            except BaseException as error:
                file.close()
                if _is_absent(error):
                    raise KeyError(name) from None
                raise
        return file

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._translated(), suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    def close(self) -> None:
        """Calls of other threads end with the request that is under way."""
        self._is_closed.set()

    def _parts(self, source: BinaryIO) -> Iterator[bytes]:
        while part := source.read(PART_BYTES):
            self._require_open()
            yield part

    def _require_open(self) -> None:
        if self._is_closed.is_set():
            raise RetriableError(
                f"The process ends, so what was under way with {self.location} is given up.",
                code="STATE_STORAGE",
            )

    def _refused(self, reason: str) -> StartRefusedError:
        return StartRefusedError(
            f"checkpoints cannot be kept in {self.location}: {reason}", code="CHECKPOINT_STORE"
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise RetriableError(
                f"{self.location} refuses: {refusal(error).reason}.", code="STATE_STORAGE"
            ) from error


def _is_absent(error: BaseException) -> bool:
    """Whether the store says so: its error has no number, as one of the disk has."""
    return isinstance(error, FileNotFoundError) and error.errno is None
