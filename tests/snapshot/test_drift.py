"""Two cuts compared, and the keys of two tables, by statistics alone."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater.contract import Contract, parse_contract, to_arrow
from headwater.errors import UnverifiableError
from headwater.snapshot.drift import LEAST_SHIFT, ColumnDrift, drift
from headwater.snapshot.overlap import overlap
from headwater.snapshot.sketches import Quantiles
from headwater.snapshot.statistics import TableStatistics, statistics


def of(key: Any = None, **columns: tuple[Any, list[Any]]) -> TableStatistics:
    """Statistics of columns, each given by its type and its values."""
    fields = [{"name": name, "type": kind, "doc": "d"} for name, (kind, _) in columns.items()]
    schema: dict[str, Any] = {"type": "record", "name": "Row", "doc": "d", "fields": fields}
    text = json.dumps(schema if key is None else {**schema, "key": key})
    contract: Contract = parse_contract(text, topic="t", version=1, path=Path("v1.avsc"))
    values = {name: values for name, (_, values) in columns.items()}
    return statistics([to_arrow(pl.DataFrame(values, schema=contract.columns), contract)], contract)


def moved(earlier: list[Any], later: list[Any], kind: Any = "double") -> ColumnDrift:
    """What is said of one column."""
    (found,) = drift(of(x=(kind, earlier)), of(x=(kind, later)))
    return found


def shift(found: ColumnDrift, what: str) -> float:
    """The size of one shift."""
    return next(each.size for each in found.shifts if each.what == what)


def test_the_same_distribution_has_not_moved() -> None:
    """Other rows of it are told apart by no more than the sketches' error."""
    draw = random.Random(7)
    one, other = ([draw.gauss(0, 1) for _ in range(30_000)] for _ in range(2))
    found = moved(one, other)
    assert found.verdict == "alike"
    assert 0 < shift(found, "quantiles") <= 2 * Quantiles.ERROR


def test_a_distribution_that_moved_is_told_with_how_far() -> None:
    """Uniform over [0, 1) against [0.3, 1.3): 0.3 apart, within the bound."""
    numbers = [n / 20_000 for n in range(20_000)]
    found = moved(numbers, [n + 0.3 for n in numbers])
    assert found.verdict == "moved"
    assert abs(shift(found, "quantiles") - 0.3) <= 2 * Quantiles.ERROR


def test_a_growing_part_of_nulls_or_nan_has_moved() -> None:
    """From one percentage point on: exact counts move with every commit."""
    kind = ["null", "double"]
    whole, some = [1.0] * 100, [*[1.0] * 98, None, None]
    assert moved(whole, some, kind).verdict == "moved"
    assert shift(moved(whole, some, kind), "nulls") == pytest.approx(0.02)
    assert moved([*[1.0] * 1_000], [*[1.0] * 991, *[None] * 9], kind).verdict == "alike"
    assert LEAST_SHIFT == 0.01


def test_values_that_came_and_went_are_named() -> None:
    """Heavy ones alone; one whose part changed has moved too."""
    found = moved(["a"] * 50 + ["b"] * 50, ["a"] * 50 + ["c"] * 50, "string")
    assert (found.verdict, found.new, found.lost) == ("moved", ("c",), ("b",))
    found = moved(["a"] * 50 + ["b"] * 50, ["a"] * 60 + ["b"] * 40, "string")
    assert (found.verdict, found.new, found.lost) == ("moved", (), ())
    assert shift(found, "frequent") == pytest.approx(0.1)
    assert moved(["a"] * 500 + ["b"], ["a"] * 500 + ["c"], "string").verdict == "alike"


def test_values_that_all_differ_have_no_heavy_hitters() -> None:
    """What the sketch cannot tell is no drift."""
    one, other = ([f"{side}-{n}" for n in range(5_000)] for side in "ab")
    found = moved(one, other, "string")
    assert (found.verdict, found.new, found.lost) == ("alike", (), ())


def test_columns_come_and_go() -> None:
    """Neither has moved; a cut without rows is compared with nothing."""
    found = drift(of(a=("int", [1]), b=("int", [1])), of(b=("int", [1]), c=("int", [1])))
    assert {each.name: each.verdict for each in found} == {"a": "gone", "b": "alike", "c": "added"}
    assert moved([], [1.0]).verdict == "alike"


def test_the_overlap_of_few_keys_is_exact() -> None:
    """Two in both of three and four; a fifth of all five."""
    found = overlap(of("a", a=("int", [1, 2, 3])), of("b", b=("long", [2, 3, 4, 5])))
    assert (found.one.value, found.other.value, found.common.value) == (3, 4, 2)
    assert found.common.is_exact
    assert (found.jaccard.value, found.of_one.value, found.of_other.value) == (0.4, 2 / 3, 0.5)


def test_the_overlap_of_many_keys_lies_within_its_bounds() -> None:
    """Half of one in a third of the other."""
    one = of("k", k=("string", [f"order-{n}" for n in range(20_000)]))
    other = of("k", k=("string", [f"order-{n}" for n in range(10_000, 40_000)]))
    found = overlap(one, other)
    for each, true in (
        (found.common, 10_000),
        (found.jaccard, 0.25),
        (found.of_one, 1 / 2),
        (found.of_other, 1 / 3),
    ):
        assert not each.is_exact
        assert each.low <= true <= each.high
        assert (each.high - each.low) / each.value < 0.4


def test_nothing_in_common_is_nothing() -> None:
    """And tables without rows have none either."""
    one, none = of("k", k=("int", [1])), of("k", k=("int", []))
    assert overlap(one, of("k", k=("int", [2]))).common.value == 0
    assert overlap(none, one).of_one.value == 0
    assert overlap(none, none).jaccard.is_exact


def test_keys_that_cannot_be_compared_are_named() -> None:
    """No key at all, and one field against two."""
    one, two = of("a", a=("int", [1])), of(["a", "b"], a=("int", [1]), b=("int", [1]))
    for other, code in ((of(a=("int", [1])), "NO_IDENTITIES"), (two, "OTHER_KEYS")):
        with pytest.raises(UnverifiableError) as caught:
            overlap(one, other)
        assert caught.value.code == code
