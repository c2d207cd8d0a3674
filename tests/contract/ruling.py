"""Contracts with rules, and frames for them."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from headwater.contract import Contract, Rules, parse_contract

INSTANT = {"type": "long", "logicalType": "timestamp-millis"}


def field(name: str, type_: Any, **attributes: Any) -> dict[str, Any]:
    """A field with a doc."""
    return {"name": name, "type": type_, "doc": "d", **attributes}


def contract(*fields: dict[str, Any], **attributes: Any) -> Contract:
    """A contract of these fields; `attributes` are the record's."""
    schema = {"type": "record", "name": "R", **attributes, "fields": list(fields)}
    text = json.dumps(schema, indent=1)
    return parse_contract(text, topic="a.b", version=1, path=Path("v1.avsc"))


def frame(of: Contract, **columns: Any) -> pl.DataFrame:
    """Columns in the types of the contract, with `_row`."""
    made = pl.DataFrame(columns, schema={name: of.columns[name] for name in columns})
    return made.with_columns(_row=pl.int_range(made.height, dtype=pl.UInt32))


def broken(of: Contract, published_ms: list[int] | None = None, **columns: Any) -> dict[str, Any]:
    """The rows that break each rule by its name; what every contract asks by its code."""
    times = None if published_ms is None else pl.Series(published_ms, dtype=pl.Int64)
    found = Rules(of).broken(frame(of, **columns), times)
    by_code: dict[str, Any] = {each.rule.name: list(each.rows) for each in found.violations}
    for each in found.quarantined:
        if each.code != "CONTRACT_VIOLATION":
            by_code.setdefault(each.code, []).append(each.row)
    return by_code
