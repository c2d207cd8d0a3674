"""A table that a column divides: which rows share a file, and which values can be told of one."""

from collections.abc import Collection, Iterator
from datetime import date
from typing import Final
from urllib.parse import quote

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contract import Contract, masked_fields
from headwater.contract.tree import Enum, Primitive, Type, optional
from headwater.errors import StartRefusedError
from headwater.ports import Table

DATE: Final = "_date"
"""The column of the event's day: the UTC day of its event time. Null where it has none."""
DATE_FIELD: Final = pa.field(DATE, pa.date32())
MAX_VALUES: Final = 4_000  # in one commit, a file each and partition: more than ten years of days
MAX_FOLDER_BYTES: Final = 200  # of a value in a path, escaped
MAX_NAME_BYTES: Final = 255  # of a name in a file system, here of column and value
NULL_FOLDER: Final = "__HIVE_DEFAULT_PARTITION__"  # Hive's word for null, which readers know

_KINDS: Final = frozenset({("boolean", None), ("int", None), ("long", None), ("int", "date")})


def division_mistake(by: str, contract: Contract) -> str | None:
    """Why a column cannot divide the rows of a contract, as a phrase; None when it can."""
    if by == DATE:
        if contract.event_time is None:
            return 'the contract has no "eventTime"'
        return None
    types = {each.name: each.type for each in contract.record.fields}
    if by not in types:
        return f"the contract has no column {by}"
    if by in masked_fields(contract):
        return f"{by} is {contract.sensitivity[by]}, and its values would stand in paths"
    if not _divides(types[by]):
        return f"{by} is neither a text, an integer, a boolean nor a date"
    return None


def _divides(type_: Type) -> bool:
    match optional(type_) or type_:
        case Primitive(kind="string") | Enum():
            return True
        case Primitive(kind=kind, logical=logical):
            return (kind, logical) in _KINDS
        case _:
            return False


def event_dates(frame: pl.DataFrame, contract: Contract) -> pl.Series:
    """`_date` of rows in the contract's types. Null beyond the years 1 to 9999, which no path has.

    A time without zone counts as UTC.
    """
    day = pl.col(contract.event_time or "").cast(pl.Date)
    is_known = day.is_between(date.min, date.max)
    return frame.select(pl.when(is_known).then(day).alias(DATE)).to_series()


def require_division(table: Table, by: str | None) -> None:
    """Raises StartRefusedError (SNAPSHOT_DIVISION) when a table is divided by another column."""
    if table.version() is None or table.divided_by == by:
        return
    stored, wanted = (_phrase(each) for each in (table.divided_by, by))
    raise StartRefusedError(
        f"The snapshot in {table.location} is {stored}, and the product declares it {wanted};"
        f" nothing was written. Declare it as it was, or begin a new snapshot with --to.",
        code="SNAPSHOT_DIVISION",
    )


def _phrase(by: str | None) -> str:
    return "not divided" if by is None else f"divided by {by}"


def together(rows: pa.Table, by: str | None) -> pa.Table:
    """The same rows with those of one value beside each other, else in their order."""
    if by is None or len(pc.unique(rows[by])) <= 1:
        return rows
    return rows.take(pc.sort_indices(rows.select([by]), sort_keys=[(by, "ascending")]))


def runs(rows: pa.Table, by: str | None, location: str) -> Iterator[tuple[str | None, pa.Table]]:
    """The rows that `together` gave, as those of each value; slices that copy nothing.

    Raises StartRefusedError (SNAPSHOT_DIVISION) for a value that cannot be told of a file.
    """
    if by is None:
        yield None, rows
        return
    first = 0
    for length, value in pl.Series(rows[by]).rle().struct.unnest().rows():
        text = text_of(value)
        if text is not None and (why := _untold(by, text)):
            raise _refused(location, f"a value of {by} {why}")
        yield text, rows.slice(first, length)
        first += length


def require_few(values: Collection[str | None], by: str | None, location: str) -> None:
    """Raises StartRefusedError (SNAPSHOT_DIVISION) for more values than a commit has files for."""
    if len(values) > MAX_VALUES:
        raise _refused(location, f"one commit would have {len(values):,} values of {by}")


def text_of(value: object) -> str | None:
    """A value of the dividing column as paths and logs of tables tell it."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case date():
            return value.isoformat()
        case _:
            return str(value)


def scalar_of(value: str | None, kind: pa.DataType) -> pa.Scalar:
    """The value that `text_of` told, in the type of its column."""
    return pa.scalar(value, pa.string()).cast(kind)


def folder_of(by: str, value: str | None) -> str:
    """The folder of a value, as Hive and every reader of its folders have it."""
    return f"{by}={NULL_FOLDER if value is None else quote(value, safe='')}"


def _untold(by: str, text: str) -> str:
    """Why readers could not tell this value from others; empty when they can."""
    if text in {"", NULL_FOLDER}:
        return "is one that tables take for null"
    room = min(MAX_FOLDER_BYTES, MAX_NAME_BYTES - len(f"{by}="))
    if len(quote(text, safe="")) > room:
        return f"has more than {room} bytes in a path"
    return ""


def _refused(location: str, why: str) -> StartRefusedError:
    return StartRefusedError(
        f"The snapshot in {location} cannot be divided so: {why}; nothing after the last commit was"
        f" taken. Divide it by a column of few and short values, or by {DATE}, and begin a new"
        f" snapshot with --to.",
        code="SNAPSHOT_DIVISION",
    )
