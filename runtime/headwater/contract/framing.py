"""How a record names the schema that wrote it: before its body (V0), or in a header (V1).

V0 is the magic byte 0 and the registry's id in four bytes; the body follows. V1 is the header
`__value_schema_id`: the byte 1 and a GUID of 16 bytes, or the very frame of V0; then the whole
value is the body. Where a record has both, the header counts, as for Confluent's deserializers.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from headwater.model import Code, Headers, Quarantine, SchemaRef

MAGIC: Final = b"\0"  # of an id
GUID_MAGIC: Final = b"\1"
ID_BYTES: Final = 4
GUID_BYTES: Final = 16
FRAME_BYTES: Final = len(MAGIC) + ID_BYTES
VALUE_HEADER: Final = "__value_schema_id"
NOT_SOUND: Final = "the header of the schema's id"

Key = int | bytes
"""What tells the schema of a record: the id before its body, or its header's bytes."""


class BadFrameError(ValueError):
    """A header or frame that names no schema; `code` says why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def schema_headers(headers: Mapping[int, Headers]) -> dict[int, bytes]:
    """The schema headers of the rows that have one. A null is none; of several the first counts."""
    found: dict[int, bytes] = {}
    for row, each in headers.items():
        for name, value in each:
            if name == VALUE_HEADER:
                if value is not None:
                    found[row] = value
                break
    return found


def guid_header(guid: UUID) -> Headers:
    """The headers of a record that names its writer's schema by GUID."""
    return ((VALUE_HEADER, GUID_MAGIC + guid.bytes),)


def reference(key: Key) -> SchemaRef:
    """The registry's id or GUID in a frame or header. Raises BadFrameError."""
    if isinstance(key, int):
        return key
    magic, rest = key[:1], key[1:]
    if magic not in (MAGIC, GUID_MAGIC):
        message = f"{NOT_SOUND} begins neither with 0 nor with 1"
        raise BadFrameError(Code.BAD_MAGIC if key else Code.TRUNCATED_FRAME, message)
    size = ID_BYTES if magic == MAGIC else GUID_BYTES
    if len(rest) < size:
        raise BadFrameError(Code.TRUNCATED_FRAME, f"{NOT_SOUND} ends too early")
    if len(rest) > size:
        raise BadFrameError(Code.TRAILING_BYTES, f"{NOT_SOUND} goes on behind it")
    return UUID(bytes=rest) if magic == GUID_MAGIC else int.from_bytes(rest, "big")


def named_schema(value: bytes | None, headers: Headers) -> SchemaRef | None:
    """The id or GUID by which a record names its writer's schema; None when it names none."""
    key: Key | None = schema_headers({0: headers}).get(0)
    if key is None:
        key = framed_id(value)
    try:
        return None if key is None else reference(key)
    except BadFrameError:
        return None


def frame_of(schema_id: int) -> bytes:
    """What stands before a body written under the registry's id."""
    return MAGIC + schema_id.to_bytes(ID_BYTES, "big")


def framed_id(value: bytes | None) -> int | None:
    """The schema id of a well-framed value."""
    if value is None or len(value) < FRAME_BYTES or value[:1] != MAGIC:
        return None
    return int.from_bytes(value[1:FRAME_BYTES], "big")


def frame_fault(value: bytes | None) -> tuple[Code, str]:
    """What is wrong with a value that has no well-formed frame."""
    if not value:
        return Code.EMPTY_VALUE, "the value is empty"
    if value[:1] != MAGIC:
        return Code.BAD_MAGIC, "the first byte is not the magic 0"
    return Code.TRUNCATED_FRAME, f"the value ends inside the frame of {FRAME_BYTES} bytes"


def common_key(values: Sequence[bytes | None], headers: Mapping[int, bytes]) -> Key | None:
    """What the records are tried with all at once: the first's schema; None when that is unsafe.

    A frame is compared with the schema's id whatever is read. A body without a frame could be read
    under another schema than its own: then every header must be the same.
    """
    if not values:
        return None
    if not headers:
        return framed_id(values[0])
    distinct = set(headers.values()) if len(headers) == len(values) else ()
    return next(iter(distinct)) if len(distinct) == 1 and all(values) else None


def rows_by_key(
    values: Sequence[bytes | None],
    headers: Mapping[int, bytes],
    quarantined: list[Quarantine],
    rows: Sequence[int] | None = None,
) -> dict[Key, list[int]]:
    """The rows of each schema; those with a bad frame join `quarantined`. None: of all rows."""
    groups: defaultdict[Key, list[int]] = defaultdict(list)
    starts: defaultdict[bytes | None, list[int]] = defaultdict(list)
    for row in range(len(values)) if rows is None else rows:
        value = values[row]
        if value and row in headers:
            groups[headers[row]].append(row)
        else:  # a frame is looked into once for all that begin alike
            starts[value and value[:FRAME_BYTES]].append(row)
    for start, found in starts.items():
        if (key := framed_id(start)) is not None:
            groups[key] = found
        else:
            quarantined += [Quarantine(row, *frame_fault(start)) for row in found]
    return groups
