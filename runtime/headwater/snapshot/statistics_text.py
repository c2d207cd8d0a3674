"""Statistics as bytes: one JSON document, sketches in base64, compressed with Zstandard.

Its first member is the digest of the document without it, because one cut is made of another: a bit
that rots would be in the statistics of every cut behind it.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import pyarrow as pa
import xxhash

from headwater.errors import DamagedError
from headwater.snapshot.column_statistics import ColumnStatistics, Kind
from headwater.snapshot.sketches import Distinct, Frequent, Quantiles
from headwater.snapshot.statistics import TableStatistics

FORMAT: Final = 1
"""Of the document. What a later one adds is passed over; a greater number is not read."""

_DIGEST: Final = b'{"digest":"%b",'
_UNDIGESTED: Final = b'{"format":'  # as older releases began one, which wrote no digest
_DIGITS: Final = 32  # of xxh3_128, in hex

T = TypeVar("T")


Parts = Mapping[str, TableStatistics]
"""Statistics of the files that a table consists of, by the names they were given."""


def to_bytes(statistics: TableStatistics, parts: Parts | None = None) -> bytes:
    """The document of a table's statistics, and of its parts where they are kept."""
    document = {
        "format": FORMAT,
        **_document(statistics),
        "parts": {name: _document(each) for name, each in (parts or {}).items()},
    }
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    with pa.BufferOutputStream() as buffer:
        with pa.CompressedOutputStream(buffer, "zstd") as stream:
            stream.write(_digested(text.encode()))
        return bytes(buffer.getvalue())


def from_bytes(content: bytes) -> TableStatistics:
    """The inverse of `to_bytes`. Raises DamagedError for other bytes, without quoting them."""
    return _read(content, _statistics)


def parts_from_bytes(content: bytes) -> Parts:
    """The parts; none where none were kept. Raises as `from_bytes` does."""
    return _read(
        content,
        lambda found: {name: _statistics(each) for name, each in found.get("parts", {}).items()},
    )


def _read(content: bytes, read: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
            text = stream.read()
        if not text.startswith(_UNDIGESTED):
            _require_written(text)
        document = json.loads(text)
        if document["format"] > FORMAT:
            raise DamagedError(
                f"The statistics were written by a later release (format {document['format']},"
                f" known is {FORMAT}); use that release to read them.",
                code="STATISTICS_FORMAT",
            )
        return read(document)
    # the sketches' own complaints are RuntimeError, ValueError (binascii's too) and IndexError
    except (OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise DamagedError(
            "The statistics of a cut cannot be read: their file is not what a snapshot wrote;"
            " those of other cuts are files of their own.",
            code="STATISTICS_DAMAGED",
        ) from error


def _digested(text: bytes) -> bytes:
    return _DIGEST % xxhash.xxh3_128_hexdigest(text).encode() + text[1:]


def _require_written(text: bytes) -> None:
    """Raises ValueError unless the document is what its digest says."""
    if text != _digested(b"{" + text[len(_DIGEST % b"") + _DIGITS :]):
        message = "another digest"
        raise ValueError(message)


def _document(statistics: TableStatistics) -> dict[str, Any]:
    return {
        "topic": statistics.topic,
        "commit_id": statistics.commit_id,
        "committed_at_ms": statistics.committed_at_ms,
        "cut": {str(partition): end for partition, end in statistics.cut.items()},
        "rows": statistics.rows,
        "key": statistics.key,
        "identities": _text(statistics.identities),
        "columns": [_column(each) for each in statistics.columns.values()],
    }


def _column(column: ColumnStatistics) -> dict[str, Any]:
    frequent = column.frequent
    return {
        "name": column.name,
        "kind": column.kind,
        "unit": column.unit,
        "doc": column.doc,
        "sensitivity": column.sensitivity,
        "rows": column.rows,
        "nulls": column.nulls,
        "nans": column.nans,
        "least": finite(column.least),
        "greatest": finite(column.greatest),
        "distinct": _text(column.distinct),
        "quantiles": _text(column.quantiles),
        "frequent": None
        if frequent is None
        else {"sketch": _text(frequent), "unfed": frequent.unfed},
    }


def _statistics(document: Mapping[str, Any]) -> TableStatistics:
    columns = [_column_of(each) for each in document["columns"]]
    return TableStatistics(
        topic=document["topic"],
        rows=document["rows"],
        columns={each.name: each for each in columns},
        key=tuple(document["key"]),
        identities=_sketch(document["identities"], Distinct.from_bytes),
        commit_id=document["commit_id"],
        committed_at_ms=document["committed_at_ms"],
        cut={int(partition): end for partition, end in document["cut"].items()},
    )


def _column_of(found: Mapping[str, Any]) -> ColumnStatistics:
    kind, frequent = Kind(found["kind"]), found["frequent"]
    plain = ("name", "unit", "doc", "sensitivity", "rows", "nulls", "nans")
    bounds = {name: _number(found[name], kind) for name in ("least", "greatest")}
    return ColumnStatistics(
        kind=kind,
        distinct=_sketch(found["distinct"], Distinct.from_bytes),
        quantiles=_sketch(found["quantiles"], Quantiles.from_bytes),
        frequent=None
        if frequent is None
        else Frequent.from_bytes(base64.b64decode(frequent["sketch"]), frequent["unfed"]),
        **{name: found[name] for name in plain},
        **bounds,
    )


def finite(bound: object) -> object:
    """A bound as JSON has it: infinite ones as text."""
    return str(bound) if isinstance(bound, float) and abs(bound) == float("inf") else bound


def _number(bound: Any, kind: Kind) -> Any:
    return float(bound) if bound is not None and kind is Kind.FLOAT else bound


def _text(sketch: Distinct | Quantiles | Frequent | None) -> str | None:
    return None if sketch is None else base64.b64encode(sketch.to_bytes()).decode()


def _sketch(text: str | None, read: Callable[[bytes], T]) -> T | None:
    return None if text is None else read(base64.b64decode(text, validate=True))
