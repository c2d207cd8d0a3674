"""Maps in the order of their keys: in Avro they have none, in a column they have one."""

from collections.abc import Mapping

import polars as pl

from headwater.contract import Contract
from headwater.contract.tree import Array, Field, Map, Record, Type, optional


def maps_in_order(contract: Contract) -> list[pl.Expr]:
    """What sorts the entries of every map of a contract, a column each; empty without maps."""
    found = [(field, _ordered(pl.col(field.name), field.type)) for field in contract.record.fields]
    return [values.alias(field.name) for field, values in found if values is not None]


def _ordered(values: pl.Expr, type_: Type) -> pl.Expr | None:
    """The values with their maps in order; None when there is no map in them."""
    match optional(type_) or type_:
        case Map(values=inner):
            entries = pl.element()
            changed = _ordered(entries.struct.field("value"), inner)
            if changed is not None:
                entries = pl.struct(entries.struct.field("key"), changed.alias("value"))
            return values.list.eval(
                entries.sort_by(entries.struct.field("key"), maintain_order=True)
            )
        case Array(items=items):
            changed = _ordered(pl.element(), items)
            return None if changed is None else values.list.eval(changed)
        case Record(fields=fields):
            return _ordered_record(values, {each.name: each for each in fields})
        case _:
            return None


def _ordered_record(values: pl.Expr, fields: Mapping[str, Field]) -> pl.Expr | None:
    each = {name: values.struct.field(name) for name in fields}
    changed = {name: _ordered(each[name], field.type) for name, field in fields.items()}
    if not any(found is not None for found in changed.values()):
        return None
    made = [each[n] if found is None else found.alias(n) for n, found in changed.items()]
    return pl.when(values.is_not_null()).then(pl.struct(made))
