"""Plain values between their three forms: physical Avro, logical columns, what Delta stores.

Physical is what the wire holds (a timestamp is a long); both codec paths meet here, so they cannot
disagree about a logical type. Arrays in, arrays out; a value that does not fit marks its row.
"""

import uuid
from datetime import date
from typing import Any, Final, assert_never

import pyarrow as pa
import pyarrow.compute as pc

from headwater.contract.arrays import Faults, Place, null_where, outside
from headwater.contract.tree import Decimal, Enum, Fixed, Leaf, Primitive
from headwater.contract.types import arrow_type
from headwater.model import Code

EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
FIRST_DAY: Final = date.min.toordinal() - EPOCH_DAY  # year 1: the first of Python, Arrow and Delta
LAST_DAY: Final = date.max.toordinal() - EPOCH_DAY  # year 9999
DAY_S: Final = 86_400
PER_SECOND: Final = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}
ARROW_UNIT: Final = {"millis": "ms", "micros": "us", "nanos": "ns"}
NANOS_PER_MILLI: Final = 1_000_000
NANOS_PER_MICRO: Final = 1_000
UUID_TEXT: Final = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"  # RFC 9562
DECIMAL_BYTES: Final = 16  # of Arrow's 128-bit decimal

_KIND: Final = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}


def physical_type(type_: Leaf) -> Any:
    """The Arrow type of the wire's form of a plain value."""
    match type_:
        case Primitive(kind):
            return _KIND[kind]
        case Decimal() | Fixed():
            return pa.binary()
        case Enum():
            return pa.string()
        case _:
            assert_never(type_)


def to_logical(array: Any, type_: Leaf, place: Place, faults: Faults) -> Any:
    """Physical values as column values. Out-of-range ones become null and mark their row."""
    match type_:
        case Primitive(_, str() as logical):
            return _logical(array, logical, place, faults)
        case Decimal():
            return _to_decimals(array, type_, place, faults)
        case Fixed(logical="uuid"):
            return _map(array, lambda raw: str(uuid.UUID(bytes=raw)), pa.string())
        case _:
            return array


def _logical(array: Any, logical: str, place: Place, faults: Faults) -> Any:
    if logical == "uuid":
        return _checked_uuid(array, place, faults, Code.AVRO_UUID)
    checked = _in_range(array, logical, place, faults, Code.BAD_TEMPORAL)
    return checked.view(temporal_type(logical))


def temporal_type(logical: str) -> Any:
    """The Arrow type a temporal logical type stands for."""
    kind, _, unit = logical.rpartition("-")
    if logical == "date":
        return pa.date32()
    if kind == "time":
        return pa.time32("ms") if unit == "millis" else pa.time64("us")
    return pa.timestamp(ARROW_UNIT[unit], None if kind.startswith("local") else "UTC")


def _in_range(array: Any, logical: str, place: Place, faults: Faults, code: Code) -> Any:
    low, high = _range(logical)
    if (beyond := outside(array, low, high)) is None:
        return array
    faults.add(place, beyond, code, f"is beyond what a {logical} can hold")
    return null_where(array, beyond)


def _range(logical: str) -> tuple[int, int]:
    """The least and the greatest number a temporal logical type may hold."""
    kind, _, unit = logical.rpartition("-")
    if logical == "date":
        return FIRST_DAY, LAST_DAY
    if kind == "time":
        return 0, DAY_S * PER_SECOND[unit] - 1
    if unit == "nanos":  # 64 bits of nanoseconds end before the years do
        return -(1 << 63), (1 << 63) - 1
    return FIRST_DAY * DAY_S * PER_SECOND[unit], (LAST_DAY + 1) * DAY_S * PER_SECOND[unit] - 1


def _checked_uuid(array: Any, place: Place, faults: Faults, code: Code) -> Any:
    wrong = pc.fill_null(pc.invert(pc.match_substring_regex(array, UUID_TEXT)), False)  # noqa: FBT003 - Arrow's signature
    if not pc.any(wrong).as_py():
        return array
    faults.add(place, wrong, code, "is not a uuid of 8-4-4-4-12 hexadecimal digits")
    return null_where(array, wrong)


def _to_decimals(array: Any, type_: Decimal, place: Place, faults: Faults) -> Any:
    limit = 10**type_.precision
    numbers = [int.from_bytes(raw or b"", "big", signed=True) for raw in array.to_pylist()]
    beyond = [not -limit < number < limit for number in numbers]
    if any(beyond):
        what = f"has more than {type_.precision} digits"
        faults.add(place, pa.array(beyond), Code.DECIMAL_OVERFLOW, what)
        numbers = [0 if over else n for n, over in zip(numbers, beyond, strict=True)]
    data = b"".join(n.to_bytes(DECIMAL_BYTES, "little", signed=True) for n in numbers)
    valid = array.is_valid().buffers()[1] if array.null_count else None
    kind = pa.decimal128(type_.precision, type_.scale)
    return pa.Array.from_buffers(kind, len(array), [valid, pa.py_buffer(data)])


def to_physical(array: Any, type_: Leaf, place: Place, faults: Faults) -> Any:
    """Column values as the wire holds them. Those that do not fit the contract mark their row."""
    match type_:
        case Primitive(_, str() as logical):
            return _unlogical(array, logical, place, faults)
        case Decimal():
            return _from_decimals(array, type_)
        case Fixed(logical="uuid"):
            text = _checked_uuid(array, place, faults, Code.CONTRACT_VIOLATION)
            return _map(text, lambda each: uuid.UUID(each).bytes, pa.binary())
        case Fixed(size=size):
            return _of_size(array.cast(pa.binary()), size, place, faults)
        case _:
            return array.cast(physical_type(type_))


def _unlogical(array: Any, logical: str, place: Place, faults: Faults) -> Any:
    if logical == "uuid":
        return _checked_uuid(array.cast(pa.string()), place, faults, Code.CONTRACT_VIOLATION)
    if logical == "date":
        numbers = array.view(pa.int32())
    elif logical.startswith("time-"):
        numbers = _from_nanos(array.view(pa.int64()), logical, place, faults)
    else:
        numbers = array.view(pa.int64())
    return _in_range(numbers, logical, place, faults, Code.CONTRACT_VIOLATION)


def _from_nanos(nanos: Any, logical: str, place: Place, faults: Faults) -> Any:
    """Polars' nanoseconds of the day in the unit of the contract."""
    per_unit, kind = (
        (NANOS_PER_MILLI, pa.int32()) if logical == "time-millis" else (NANOS_PER_MICRO, pa.int64())
    )
    units = pc.divide(nanos, per_unit)
    lost = pc.fill_null(pc.not_equal(pc.multiply(units, per_unit), nanos), False)  # noqa: FBT003 - Arrow's signature
    if pc.any(lost).as_py():
        faults.add(place, lost, Code.CONTRACT_VIOLATION, f"is finer than {logical}")
    return units.cast(kind)


def _from_decimals(array: Any, type_: Decimal) -> Any:
    data, start = array.buffers()[1].to_pybytes(), array.offset
    valid = array.is_valid().to_pylist()
    out: list[bytes | None] = []
    for index, held in enumerate(valid, start):
        at = index * DECIMAL_BYTES
        number = int.from_bytes(data[at : at + DECIMAL_BYTES], "little", signed=True)
        size = type_.size or (number if number >= 0 else ~number).bit_length() // 8 + 1
        out.append(number.to_bytes(size, "big", signed=True) if held else None)
    return pa.array(out, pa.binary())


def _of_size(array: Any, size: int, place: Place, faults: Faults) -> Any:
    wrong = pc.fill_null(pc.not_equal(pc.binary_length(array), size), False)  # noqa: FBT003 - Arrow's signature
    if pc.any(wrong).as_py():
        faults.add(place, wrong, Code.CONTRACT_VIOLATION, f"is not {size} bytes long")
    return array


def to_stored(array: Any, type_: Leaf, _place: Place, _faults: Faults) -> Any:
    """Column values as Delta stores them: it has no time of day and no nanoseconds."""
    match type_:
        case Primitive(_, str() as logical) if logical.startswith("time-"):
            return pc.divide(array.view(pa.int64()), NANOS_PER_MICRO)
        case Primitive(_, str() as logical) if logical.endswith("-nanos"):
            return array.view(pa.int64())
        case Enum():
            return array.cast(pa.string())
        case _:
            return array.cast(arrow_type(type_))


def from_stored(array: Any, type_: Leaf, _place: Place, _faults: Faults) -> Any:
    """The inverse of `to_stored`. Raises ArrowInvalid for what it makes of no value."""
    match type_:
        case Fixed(logical="uuid"):
            return _lower_case(array)
        case Primitive(_, str() as logical) if logical.startswith("time-"):
            return _within_a_day(array).view(pa.time64("us"))
        case Primitive(_, str() as logical) if logical.endswith("-nanos"):
            return array.view(temporal_type(logical))
        case Primitive(_, str() as logical) if "timestamp" in logical:
            return array.cast(temporal_type(logical))
        case _:
            return array


def _within_a_day(micros: Any) -> Any:
    """Times of day; Polars would have null for those of no day."""
    if outside(micros, *_range("time-micros")) is None:
        return micros
    message = "a time of day is beyond the day"
    raise pa.ArrowInvalid(message)


def _lower_case(uuids: Any) -> Any:
    """Texts of bytes, as they were made: in capitals they would be of the same bytes."""
    if uuids.equals(pc.utf8_lower(uuids)):
        return uuids
    message = "a uuid is written in capitals"
    raise pa.ArrowInvalid(message)


def to_canonical(array: Any) -> Any:
    """Floating point with one encoding per value: one NaN, one zero; everything else as it is."""
    if not pa.types.is_floating(array.type):
        return array
    one_zero = pc.add(array, pa.scalar(0.0, array.type))  # -0.0 + 0.0 is 0.0
    return pc.if_else(pc.is_nan(one_zero), pa.scalar(float("nan"), array.type), one_zero)


def _map(array: Any, function: Any, kind: Any) -> Any:
    return pa.array([None if each is None else function(each) for each in array.to_pylist()], kind)
