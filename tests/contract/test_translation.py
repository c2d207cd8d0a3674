"""Columns of one version as another's: just what decoding the same events gives."""

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import event, given, settings
from polars.testing import assert_frame_equal
from tests.contract.evolving import Evolution
from tests.contract.test_properties import SEEDS, contract, write

from headwater.contract import ROW, Decoder, Translation, detours, former_names, incompatibilities
from headwater.errors import DeclarationError


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_a_translated_frame_is_what_the_newer_version_decodes(seed: int) -> None:
    """For every pair that the gate calls compatible."""
    maker = Evolution(seed)
    older, newer = maker.pair()
    try:
        before, after = contract(older), contract(newer)
    except DeclarationError:
        return
    if incompatibilities(after, before, "BACKWARD"):
        return
    event(maker.steps[0] if maker.steps else "another record")
    written = [write(older, each) for each in maker.values(older)]
    held = Decoder(before, lambda _: json.dumps(older)).decode(written).frame
    wanted = Decoder(after, lambda _: json.dumps(older)).decode(written).frame
    translation = Translation(before, after)
    assert translation.reasons == []
    made, bad = translation.translate(held)
    assert bad == []
    assert_frame_equal(made, wanted.drop(ROW))
    some = list(after.columns)[-1:]
    only = Translation(before, after, some)
    made, _ = only.translate(held.select(*only.sources, ROW))
    assert_frame_equal(made, wanted.select(some))


def record(*fields: dict[str, Any]) -> Any:
    """A schema with these fields."""
    listed = [{"name": "id", "type": "int"}, *fields]
    return {"type": "record", "name": "R", "fields": [{"doc": "d", **each} for each in listed]}


def test_a_value_that_the_newer_version_cannot_hold_is_told_by_its_row() -> None:
    """And is left out."""
    older = contract(record({"name": "n", "type": ["null", "int"]}))
    newer = contract(record({"name": "n", "type": "int"}))
    frame = pl.DataFrame({"id": [1, 2], "n": [None, 3]}, schema=older.columns)
    made, bad = Translation(older, newer).translate(frame)
    assert made.rows() == [(2, 3)]
    assert [each.row for each in bad] == [0]
    assert Translation(newer, contract(record({"name": "x", "type": "int"}))).reasons


def symbols(*known: str) -> dict[str, Any]:
    """A field of these symbols, the first of which stands for others."""
    enum = {"type": "enum", "name": "E", "symbols": list(known), "default": known[0]}
    return {"name": "kind", "type": enum}


FEE: dict[str, Any] = {"name": "fee", "type": "int", "default": 1}
TAX = {**FEE, "name": "tax", "aliases": ["fee"]}


@pytest.mark.parametrize(
    ("first", "between", "last", "paths"),
    [
        ([], [FEE], [{**FEE, "default": 2}], ["fee"]),
        ([FEE], [FEE], [{**FEE, "default": 2}], []),
        ([FEE], [], [FEE], ["fee"]),
        ([symbols("A", "B")], [symbols("A")], [symbols("A", "B")], ["kind"]),
        ([symbols("A")], [symbols("A", "B")], [symbols("A", "C")], []),
        ([FEE], [TAX], [{**TAX, "name": "due", "aliases": ["tax"]}], ["due"]),
        ([FEE], [TAX], [{**TAX, "name": "due", "aliases": ["tax", "fee"]}], []),
        ([], [{**FEE, "type": "double", "default": 1}], [{**FEE, "type": "double"}], []),
    ],
    ids=["default", "never used", "back", "symbol", "new symbols", "lost alias", "kept", "equal"],
)
def test_what_a_version_in_between_loses_is_found(
    first: list[Any], between: list[Any], last: list[Any], paths: list[str]
) -> None:
    """On every level: inside a record, a list and a map too."""
    versions = [record(*fields) for fields in (first, between, last)]
    assert detours(*(contract(each) for each in versions)) == paths
    nested = []
    for version in versions:
        items = {"type": "array", "items": {"type": "map", "values": {**version, "name": "I"}}}
        nested.append(contract(record({"name": "some", "type": items})))
    assert detours(*nested) == [f"some[]{{}}.{path}" for path in paths]


def test_former_names_lead_through_lists_and_maps() -> None:
    """By the path of the newer version."""
    inner = {"type": "record", "name": "I", "fields": [{**FEE, "doc": "d"}]}
    renamed = {**inner, "fields": [{**TAX, "doc": "d"}]}
    older = record({"name": "some", "type": {"type": "array", "items": inner}})
    newer = record(
        {"name": "all", "aliases": ["some"], "type": {"type": "array", "items": renamed}}
    )
    assert former_names(contract(newer), contract(older)) == {
        "id": "id",
        "all": "some",
        "all[].tax": "some[].fee",
    }
