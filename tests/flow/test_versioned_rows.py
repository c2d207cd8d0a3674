"""Rows of a table as of a time, against a list."""

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.flow import DELETED, FOUND, TASK, TIME, VersionedRows, table_rows, versioned_rows

KINDS = {"id": pl.Int32(), "v": pl.Int64()}
Change = tuple[int, int, bool]
CHANGES = st.lists(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(-30, 30), st.booleans())), max_size=12
)
ASKED = st.lists(st.tuples(st.none() | st.integers(-6, 6), st.none() | st.integers(-40, 40)))


def frame(changes: Sequence[Change], first: int) -> pl.DataFrame:
    """Changes in the order of the log, numbered from `first` on; an ended key has no values."""
    return pl.DataFrame(
        {
            "id": [key for key, _, _ in changes],
            "v": [None if ends else n for n, (_, _, ends) in enumerate(changes, first)],
            TIME: [time for _, time, _ in changes],
            DELETED: [ends for _, _, ends in changes],
        },
        schema={**KINDS, TIME: pl.Int64(), DELETED: pl.Boolean()},
    )


def expected(log: Sequence[Change], key: int | None, time: int | None, within: int) -> int | None:
    """The place in the log of what is valid then; of one time the last counts."""
    if key is None or time is None:
        return None
    known = [(since, n) for n, (k, since, _) in enumerate(log) if k == key and since <= time]
    since, place = max(known, default=(0, -1))
    return None if place < 0 or log[place][2] or time - since > within else place


@pytest.mark.parametrize("hashes", [2**64 - 1, 3, 1], ids=["all", "three", "one"])
@settings(deadline=None, max_examples=80)
@given(CHANGES, ASKED, st.sampled_from([0, 7, 1000]))
def test_a_look_up_finds_what_was_valid_then(
    hashes: int,
    changes: list[list[Change]],
    asked: list[tuple[int | None, int | None]],
    within: int,
) -> None:
    """Whatever came late, ended, or has one hash; after every batch, in the order asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            versioned_rows,
            "_hashed",
            lambda rows: (rows.hash_rows(0) % hashes).alias(table_rows.HASH),
        )
        rows = VersionedRows("id", KINDS)
        log: list[Change] = []
        keys, times = (pl.Series([each[n] for each in asked], dtype=pl.Int64) for n in (0, 1))
        for batch in changes:
            rows.apply(frame(batch, len(log)))
            log += batch
            found = rows.find(keys, times, within)
            wanted = [expected(log, key, time, within) for key, time in asked]
            assert found["v"].to_list() == wanted
            assert found[FOUND].to_list() == [each is not None for each in wanted]
            assert rows.keys == len({key for key, _, _ in log})
            assert rows.rows == rows.frame().height >= rows.keys
        again = VersionedRows("id", KINDS)
        again.apply(rows.frame())
        assert again.find(keys, times, within).equals(rows.find(keys, times, within))


def test_rows_are_told_apart_by_task_and_dropped_with_it() -> None:
    """One key in two tasks is two keys; what is left of a dropped task is nothing."""
    rows = VersionedRows("id", KINDS, by_task=True)
    change = frame([(1, 10, False), (1, 10, False), (2, 20, False)], 0)
    rows.apply(change.with_columns(pl.Series(TASK, [0, 1, 1])))
    keys, times = pl.Series([1, 1, 1, 2], dtype=pl.Int64), pl.Series([10, 10, 10, 25])
    tasks = pl.Series([0, 1, 2, 1])
    assert rows.keys == 3
    assert rows.find(keys, times, 5, tasks)["v"].to_list() == [0, 1, None, 2]
    rows.drop([1])
    assert (rows.keys, rows.rows) == (1, 1)
    assert rows.find(keys, times, 5, tasks)["v"].to_list() == [0, None, None, None]
    rows.clear()
    assert rows.frame().is_empty()
    assert not rows.find(keys, times, 5, tasks)[FOUND].any()


def test_any_batching_of_the_changes_gives_the_same_rows() -> None:
    """What is held is a function of the log, and of few runs."""
    log = [(n * 7 % 50, n * 13 % 101, n % 5 == 0) for n in range(400)]
    keys, times = pl.Series(range(50)).cast(pl.Int64), pl.Series(range(50, 100))
    found = []
    for size in (1, 13, 400):
        rows = VersionedRows("id", KINDS)
        for first in range(0, len(log), size):
            rows.apply(frame(log[first : first + size], first))
        found.append(rows.find(keys, times, 1000))
        assert len(rows._runs) <= 5
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
