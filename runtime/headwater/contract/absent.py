"""What stands where a field is absent: its default as a value of its column."""

from collections.abc import Iterator

import polars as pl

from headwater.contract.arrays import Faults
from headwater.contract.defaults import BadDefaultError, physical
from headwater.contract.resolve import Resolution
from headwater.contract.tree import MISSING, Field, Mistake, Record, Type, descend
from headwater.contract.types import column_mistakes, polars_type


def default_mistakes(record: Type) -> Iterator[Mistake]:
    """Every default inside a record that does not fit its field."""
    for path, type_ in descend(record):
        for each in type_.fields if isinstance(type_, Record) else ():
            if each.default is not MISSING:
                try:
                    _check(each)
                except BadDefaultError as error:
                    yield Mistake(f"{path}.{each.name}".lstrip("."), str(error), "BAD_DEFAULT")


def default_columns(record: Record) -> dict[str, pl.Series]:
    """The default of every field that has one, as a series of one value.

    Raises BadDefaultError when one does not fit (see `default_mistakes`).
    """
    return {each.name: _column(each) for each in record.fields if each.default is not MISSING}


def _check(field: Field) -> None:
    """Without a column type, which is a mistake of its own, at least the value must fit."""
    if any(column_mistakes(field.type)):
        physical(field.default, field.type)
    else:
        _column(field)


def _column(field: Field) -> pl.Series:
    """The default as a reader gets it: through the same steps as a value from the wire."""
    nothing = Record("", ())
    resolution = Resolution(nothing, Record("", (field,)))
    if resolution.reasons:
        raise BadDefaultError("; ".join(resolution.reasons))
    (array,) = resolution.resolve({}, 1, Faults())
    return pl.Series(field.name, pl.from_arrow(array)).cast(polars_type(field.type))
