"""The files of a table in a bucket. Objects are whole or not there, and the store is durable."""

import errno
import io
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from headwater.adapters.objects.opening import PART_BYTES, PARTS_AT_ONCE, open_store, options
from headwater.adapters.objects.ranges import RangeReader, RangesHandler
from headwater.adapters.objects.refusals import refusal
from headwater.adapters.tables.files import Sink, StoredFile
from headwater.errors import StartRefusedError

if TYPE_CHECKING:
    from pyarrow import fs

LEASE_S: Final = 3_600.0  # a lock that is older belongs to a process that died
HELD_S: Final = LEASE_S / 2  # who holds it so long stops: clocks that S3 takes differ by 15 minutes
_MS: Final = 1_000.0  # in a second


class BucketFiles:
    """A `TableFiles` below `s3://bucket/prefix`. Every call is bounded in time.

    Raises StartRefusedError (SNAPSHOT_STORAGE) when the location or the environment cannot be
    right.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        self._is_settled = True
        self._held_until_s: float | None = None  # of the monotonic clock, while a lock is held
        try:
            self._store = open_store(location)
        except ValueError as error:
            raise StartRefusedError(
                f"snapshots cannot be kept in {location}: {error}", code="SNAPSHOT_STORAGE"
            ) from error

    @property
    def location(self) -> str:
        """The bucket and the prefix."""
        return self._location

    @property
    def options(self) -> Mapping[str, str]:
        """The same bounds; region, endpoint and credentials are in the environment."""
        return options()

    @property
    def filesystem(self) -> "fs.FileSystem":
        """The objects, as pyarrow reads them."""
        from pyarrow import fs  # noqa: PLC0415  # takes its time

        return fs.PyFileSystem(RangesHandler(self._location, self._reader))

    @property
    def is_settled(self) -> bool:
        """False where the last put ended without an answer: the store may still be at it."""
        return self._is_settled

    def reason(self, error: OSError) -> str | None:
        """What the store says."""
        return refusal(error).reason

    def path(self, name: str) -> str:
        """The name itself."""
        return name

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name."""
        try:
            self._size(name)
        except FileNotFoundError:
            return False
        return True

    def holds(self, name: str) -> bool:
        """Whether there are objects in a folder of this name."""
        return next(self.listed(name), None) is not None

    def children(self) -> set[str]:
        """The first parts of all names."""
        with self._translated():
            found = obstore.list_with_delimiter(self._store)
        return {*found["common_prefixes"], *(each["path"] for each in found["objects"])}

    def listed(self, folder: str = "") -> Iterator[StoredFile]:
        """All objects, or those in a folder and in its folders."""
        with self._translated():
            for page in obstore.list(self._store, folder or None):
                for each in page:
                    at_ms = each["last_modified"].timestamp() * _MS
                    yield StoredFile(each["path"], each["size"], at_ms)

    def read(self, name: str, most: int | None = None) -> bytes:
        """An object's content, or so many bytes of its beginning."""
        with self._translated():
            if most is not None:
                return bytes(obstore.get_range(self._store, name, start=0, end=most))
            return bytes(obstore.get(self._store, name).bytes())

    def open(self, name: str) -> BinaryIO:
        """An object to be read anywhere in it, some at once."""
        return io.BufferedReader(self._reader(name), PART_BYTES)

    def put(self, name: str, content: bytes) -> None:
        """Write an object, in place of what has its name."""
        self._require_held()
        with self._translated():
            obstore.put(self._store, name, content)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write an object under a free name; False when there is another one already.

        A put whose answer is lost is sent again by obstore, and the second may be told that the
        first is there: whose it is, the content says.
        """
        self._is_settled = False
        with self._translated():
            try:
                obstore.put(self._store, name, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                is_ours = self.read(name) == content
            except BaseError:
                if not self.exists(name):
                    raise
                is_ours = self.read(name) == content
            else:
                is_ours = True
        self._is_settled = True
        return is_ours

    @contextmanager
    def writing(self, _folder: str, name: Callable[[], str], /) -> Iterator[Sink]:
        """Write an object of any size, in parts; it is there once the block ends without error.

        An upload begins with a name, so what is larger than a part waits in a temporary file. The
        store could copy a draft instead, in one request that takes as long as it takes.
        """
        with SpooledTemporaryFile(max_size=PART_BYTES) as file:
            yield file
            file.seek(0)
            with self._translated():
                obstore.put(
                    self._store,
                    name(),
                    file,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )

    def settle(self, names: Iterable[str]) -> None:
        """They are durable."""

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        self._require_held()
        with suppress(FileNotFoundError), self._translated():
            obstore.delete(self._store, name)

    @contextmanager
    def sole(self, name: str) -> Iterator[Callable[[bytes], None] | None]:
        """Hold the lock of a file: an object beside it, put only if there is none.

        A process that dies leaves it; it is taken over once its lease is over, by the one whose
        put finds it as it was read. Long before that its holder changes nothing any more.
        """
        lock = f"{name}.lock"
        began_s = time.monotonic()
        if not self._is_taken(lock):
            yield None
            return
        self._held_until_s = began_s + HELD_S
        try:
            yield lambda content: self.put(name, content)
        finally:
            self._held_until_s = None
            if time.monotonic() - began_s < HELD_S:  # else it may be another's by now
                self.delete(lock)

    def _is_taken(self, lock: str) -> bool:
        content = uuid.uuid4().hex.encode()
        with self._translated():
            try:
                if self.put_if_absent(lock, content):
                    return True
                found = obstore.head(self._store, lock)
                age_s = (datetime.now(UTC) - found["last_modified"]).total_seconds()
                if age_s < LEASE_S:
                    return False
                obstore.put(
                    self._store, lock, content, mode={"e_tag": found["e_tag"]}, use_multipart=False
                )
            except (FileNotFoundError, PreconditionError):
                return False  # whoever had it, or took it over, was here this moment
        return True

    def _require_held(self) -> None:
        if self._held_until_s is not None and time.monotonic() >= self._held_until_s:
            raise TimeoutError(errno.ETIMEDOUT, "upkeep took too long; the next one goes on")

    def _reader(self, name: str) -> RangeReader:
        def read_range(start: int, end: int) -> bytes:
            with self._translated():
                return bytes(obstore.get_range(self._store, name, start=start, end=end))

        return RangeReader(read_range, self._size(name))

    def _size(self, name: str) -> int:
        with self._translated():
            return int(obstore.head(self._store, name)["size"])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of obstore as those of a file system."""
        try:
            yield
        except FileNotFoundError as error:
            if error.errno is not None:
                raise
            meant = refusal(error)
            if "NoSuchBucket" in meant.reason:
                raise OSError(errno.EIO, meant.reason) from error
            raise FileNotFoundError(errno.ENOENT, "there is no such object") from error
        except BaseError as error:
            raise OSError(errno.EIO, refusal(error).reason) from error
