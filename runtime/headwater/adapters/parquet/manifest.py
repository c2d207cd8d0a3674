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
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import xxhash
from pydantic import TypeAdapter

from headwater.adapters.directory.durable import put as write
from headwater.adapters.directory.durable import put_if_absent
from headwater.adapters.parquet.files import DataFile
from headwater.ports import CommitRecord
from headwater.snapshot.record import KEY, to_text

FOLDER: Final = "manifest"
FORMAT: Final = 1  # of manifests; another one is not written here


@dataclass(frozen=True, slots=True)
class Head:
    """The first line of a manifest.

    `attempt` is the writer's own name for its commit; `schema` the Arrow schema of the columns in
    Arrow's IPC encoding, base64; `offsets` the end of the last cut by topic id and partition. The
    record of a cut stands beside them, and is read by itself. Of an expired version only this line
    is left.
    """

    format: int
    version: int
    attempt: str
    product: str
    topic: str
    schema: str
    offsets: Mapping[str, Mapping[int, int]]
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


def put(directory: Path, found: Manifest, record: CommitRecord | None) -> bool:
    """Put a version; False when there is one already. Raises OSError; then nobody knows."""
    told: dict[str, Any] = {} if record is None else {KEY: json.loads(to_text(record))}
    content = b"".join(
        [_line(asdict(found.head) | told), *(_line(asdict(each)) for each in found.files.values())]
    )
    return put_if_absent(path_of(directory, found.head.version), _closed(content))


def expire(directory: Path, version: int) -> None:
    """Let go of a version's files; its record stays. Raises OSError, and ValueError as `read`."""
    head = json.loads(_first_line(directory, version))
    if not head.get("is_expired"):
        write(path_of(directory, version), _closed(_line(head | {"is_expired": True})))


def versions(directory: Path) -> list[int]:
    """The versions that stand in a directory, ascending."""
    folder = directory / FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(path.stem) for path in folder.iterdir() if _is_manifest(path))


def read(directory: Path, version: int) -> Manifest:
    """A version. Raises OSError, and ValueError when it is not what was written."""
    *written, last = path_of(directory, version).read_bytes().splitlines(keepends=True) or [b""]
    if last != _line({"digest": _digest(b"".join(written))}):
        message = f"version {version} is not what was written"
        raise ValueError(message)
    head = _HEAD.validate_json(written[0], strict=True)
    files = _FILES.validate_json(b"[" + b",".join(written[1:]) + b"]", strict=True)
    columns = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(head.schema)))
    return Manifest(head, columns, {each.path: each for each in files})


def attempts(directory: Path, numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Who wrote these versions. Raises as `read` does."""
    for version in numbers:
        yield version, _HEAD.validate_json(_first_line(directory, version), strict=True).attempt


def records(directory: Path, numbers: Sequence[int]) -> Iterator[tuple[int, str | None]]:
    """The records of these versions as text; None of those without. Raises as `read` does."""
    for version in numbers:
        found = json.loads(_first_line(directory, version))
        told = found.get(KEY) if isinstance(found, dict) else None
        yield version, None if told is None else json.dumps(told)


def path_of(directory: Path, version: int) -> Path:
    """Where a version stands."""
    return directory / FOLDER / f"{version:020d}.json"


def names(directory: Path, version: int) -> set[str]:
    """The files of a version, without what is said of them. Raises OSError."""
    content = path_of(directory, version).read_bytes()
    return {json.loads(each) for each in _NAME.findall(content)}


def _first_line(directory: Path, version: int) -> bytes:
    with path_of(directory, version).open("rb") as file:
        return file.readline()


def _closed(content: bytes) -> bytes:
    return content + _line({"digest": _digest(content)})


def _digest(content: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(content)


def _line(found: Mapping[str, Any]) -> bytes:
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"


def _is_manifest(path: Path) -> bool:
    return path.suffix == ".json" and path.stem.isdigit()
