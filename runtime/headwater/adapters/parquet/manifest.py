"""Manifests of a table of Parquet files: one version each, put only if it is not there yet.

`manifest/<version>.json` is a line of JSON about the version, then a line for each of its files,
then the digest of all that. What is asked of every version stands in the first line, so nobody
reads the lists of old ones.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa
import xxhash
from pydantic import TypeAdapter

from headwater.adapters.parquet.files import DataFile
from headwater.adapters.tables.files import TableFiles, numbered
from headwater.ports import CommitRecord
from headwater.snapshot.record import KEY, to_text

FOLDER: Final = "manifest"
FIRST_BYTES: Final = 16 << 10  # of a manifest: most first lines, in one request
FORMAT: Final = 1  # of manifests; another one is not written here


@dataclass(frozen=True, slots=True)
class Head:
    """The first line of a manifest.

    `attempt` is the writer's own name for its commit; `schema` the Arrow schema of the columns in
    Arrow's IPC encoding, base64; `offsets` the end of the last cut by topic id and partition. The
    record of a cut stands beside them, and is read by itself. `divided_by` is the column that
    divides the files. Of an expired version only this line is left.
    """

    format: int
    version: int
    attempt: str
    product: str
    topic: str
    schema: str
    offsets: Mapping[str, Mapping[int, int]]
    divided_by: str | None = None
    is_expired: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """A version of a table: its head, its columns, and its files by name."""

    head: Head
    columns: pa.Schema
    files: Mapping[str, DataFile]


_NAME: Final = re.compile(rb'^\{"path":("(?:[^"\\]|\\.)*")', re.MULTILINE)
_HEAD: Final = TypeAdapter(Head)
_FILES: Final = TypeAdapter(list[DataFile])


def encoded(columns: pa.Schema) -> str:
    """Columns as a head holds them."""
    return base64.b64encode(columns.serialize()).decode()


def put(files: TableFiles, found: Manifest, record: CommitRecord | None) -> bool:
    """Put a version; False when there is one already. Raises OSError; then nobody knows."""
    told: dict[str, Any] = {} if record is None else {KEY: json.loads(to_text(record))}
    content = b"".join(
        [_line(asdict(found.head) | told), *(_line(asdict(each)) for each in found.files.values())]
    )
    return files.put_if_absent(name_of(found.head.version), _closed(content))


def expire(files: TableFiles, version: int) -> None:
    """Let go of a version's files; its record stays. Raises OSError, and ValueError as `read`."""
    head = json.loads(_first_line(files, version))
    if not head.get("is_expired"):
        files.put(name_of(version), _closed(_line(head | {"is_expired": True})))


def versions(files: TableFiles) -> list[int]:
    """The versions that there are, ascending."""
    return sorted(number for number, _ in numbered(files.listed(FOLDER), FOLDER))


def read(files: TableFiles, version: int) -> Manifest:
    """A version. Raises OSError, and ValueError when it is not what was written."""
    *written, last = files.read(name_of(version)).splitlines(keepends=True) or [b""]
    if last != _line({"digest": _digest(b"".join(written))}):
        message = f"version {version} is not what was written"
        raise ValueError(message)
    head = _HEAD.validate_json(written[0], strict=True)
    told = _FILES.validate_json(b"[" + b",".join(written[1:]) + b"]", strict=True)
    columns = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(head.schema)))
    return Manifest(head, columns, {each.path: each for each in told})


def attempt(files: TableFiles, version: int) -> str:
    """Who wrote a version. Raises as `read` does."""
    return _HEAD.validate_json(_first_line(files, version), strict=True).attempt


def records(files: TableFiles, numbers: Sequence[int]) -> Iterator[tuple[int, str | None]]:
    """The records of these versions as text; None of those without. Raises as `read` does."""
    for version in numbers:
        found = json.loads(_first_line(files, version))
        told = found.get(KEY) if isinstance(found, dict) else None
        yield version, None if told is None else json.dumps(told)


def name_of(version: int) -> str:
    """Where a version stands."""
    return f"{FOLDER}/{version:020d}.json"


def names(files: TableFiles, version: int) -> set[str]:
    """The files of a version, without what is said of them. Raises OSError."""
    content = files.read(name_of(version))
    return {json.loads(each) for each in _NAME.findall(content)}


def _first_line(files: TableFiles, version: int) -> bytes:
    line, ending, _ = files.read(name_of(version), FIRST_BYTES).partition(b"\n")
    return line if ending else files.read(name_of(version)).partition(b"\n")[0]


def _closed(content: bytes) -> bytes:
    return content + _line({"digest": _digest(content)})


def _digest(content: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(content)


def _line(found: Mapping[str, Any]) -> bytes:
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"
