"""Rows of two frames matched and compared; what was done to one of them is what is found."""

import math
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.assembly.diff.frames import RowDiff, compare, lay_out

KEYS = st.lists(st.sampled_from("abc"), max_size=12)
FLOATS = [0.0, -1.5, math.inf, math.nan, None]


def frame(keys: list[str], numbers: list[int] | None = None) -> pl.DataFrame:
    """Rows of a key, a number and a float; the input row is the place unless it is given."""
    return pl.DataFrame(
        {
            "_row": pl.Series(numbers or range(len(keys)), dtype=pl.UInt32),
            "id": pl.Series(keys, dtype=pl.String),
            "n": pl.Series(range(len(keys)), dtype=pl.Int64),
            "f": pl.Series([FLOATS[n % 5] for n in range(len(keys))], dtype=pl.Float64),
        }
    )


def compared(left: pl.DataFrame, right: pl.DataFrame, *key: str) -> RowDiff:
    """Two frames compared by their shared columns."""
    shared = [each for each in lay_out(left.schema, right.schema).shared if each.name != "_row"]
    return compare(left, right, [each for each in shared if each.name in key], shared)


def counts(diff: RowDiff) -> tuple[int, int, int]:
    """Rows added, removed and changed."""
    changed = diff.differs.select(pl.any_horizontal(pl.all())).to_series()
    return diff.added.height, diff.removed.height, int(changed.sum())


@settings(deadline=None)
@given(KEYS)
def test_a_frame_equals_itself(keys: list[str]) -> None:
    """NaN equals NaN, and null null."""
    assert counts(compared(frame(keys), frame(keys), "id")) == (0, 0, 0)


@settings(deadline=None)
@given(KEYS, st.randoms())
def test_what_was_done_to_a_frame_is_found(keys: list[str], random: Any) -> None:
    """Dropped rows are removed, new ones added, altered ones changed, in their columns."""
    left = frame(keys)
    fates = [random.choice(["keep", "drop", "alter"]) for _ in keys]
    kept = [place for place, fate in enumerate(fates) if fate != "drop"]
    altered = [place for place, fate in enumerate(fates) if fate == "alter"]
    more = random.randrange(3)
    right = pl.concat(
        [
            left.with_columns(
                n=pl.when(pl.col("_row").is_in(altered)).then(-1).otherwise(pl.col("n"))
            )[kept],
            frame(["z"] * more, list(range(len(keys), len(keys) + more))),
        ]
    )
    diff = compared(left, right, "id")
    assert counts(diff) == (more, len(keys) - len(kept), len(altered))
    assert diff.differs["n"].sum() == len(altered)
    assert not diff.differs["f"].any()
    assert diff.removed["_row"].to_list() == [n for n, fate in enumerate(fates) if fate == "drop"]


def test_the_second_event_of_a_key_is_not_taken_for_its_first() -> None:
    """Dropping the first of two events of a key removes one row and changes none."""
    left = frame(["a", "b", "a"])
    assert counts(compared(left, left[1:], "id")) == (0, 1, 0)


def test_a_record_that_makes_several_rows_of_a_key_is_matched_by_their_order() -> None:
    """The first beside the first; what is over is added."""
    left = frame(["a", "a"], [0, 0])
    right = frame(["a", "a", "a"], [0, 0, 0])
    assert counts(compared(left, right, "id")) == (1, 0, 0)


def test_without_a_key_rows_are_matched_by_their_input_record() -> None:
    """Then another name is a change, and no removal."""
    left, right = frame(["a", "b"]), frame(["a", "x"])
    assert counts(compared(left, right)) == (0, 0, 1)
    assert counts(compared(left, right, "id")) == (1, 1, 0)


def test_columns_of_one_side_and_inside_records_are_told() -> None:
    """A record of other fields is compared field by field."""
    left = {"a": pl.Int32(), "gone": pl.String(), "r": pl.Struct({"x": pl.Int32(), "y": pl.Date()})}
    right = {"a": pl.Int64(), "new": pl.String(), "r": pl.Struct({"x": pl.Int32(), "z": pl.Time()})}
    found = lay_out(left, right)
    assert [each.name for each in found.shared] == ["a", "r", "r.x"]
    assert (found.removed, found.added) == (["gone", "r.y"], ["new", "r.z"])
    assert found.retyped == {"a": ("Int32", "Int64")}
    rows = {"_row": pl.Series([0, 1], dtype=pl.UInt32), "a": pl.Series([1, 2], dtype=pl.Int32)}
    one = pl.DataFrame({**rows, "r": pl.Series([{"x": 1, "y": None}, None], dtype=left["r"])})
    two = pl.DataFrame({**rows, "r": pl.Series([{"x": 2, "z": None}] * 2, dtype=right["r"])})
    differs = compare(one, two, [], found.shared).differs
    assert differs.to_dict(as_series=False) == {
        "a": [False, False],
        "r": [False, True],
        "r.x": [True, True],
    }


def test_types_without_anything_in_common_differ_but_for_nulls() -> None:
    """A text and a number are never equal."""
    rows = pl.Series("_row", [0, 1], dtype=pl.UInt32)
    one = pl.DataFrame([rows, pl.Series("a", ["1", None])])
    two = pl.DataFrame([rows, pl.Series("a", [1, None])])
    assert compared(one, two).differs["a"].to_list() == [True, False]


def test_keys_that_are_null_or_nan_are_matched_like_others() -> None:
    """Also where other rows are missing on one side, so that rows are looked up."""
    rows = pl.Series("_row", [0, 1, 2, 3], dtype=pl.UInt32)
    left = pl.DataFrame([rows, pl.Series("k", [1.0, None, math.nan, None])])
    assert counts(compared(left, left[1:], "k")) == (0, 1, 0)


def test_a_key_that_a_wider_type_cannot_hold_is_a_change() -> None:
    """What becomes null on the way is not the null of the other side."""
    rows = pl.Series("_row", [0, 1], dtype=pl.UInt32)
    left = pl.DataFrame([rows, pl.Series("k", [10**15, 7])])
    wide = pl.Series("k", [None, "7"]).cast(pl.Decimal(38, 25))
    assert counts(compared(left, pl.DataFrame([rows, wide]), "k")) == (0, 0, 1)
