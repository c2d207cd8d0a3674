"""Rows of a table by key, against a dict."""

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.flow import DELETED, TASK, TIME, TableRows, VersionedRows, table_rows, versioned_rows

KINDS = {"id": pl.Int32(), "v": pl.Int64(), "text": pl.String()}
CHANGES = st.lists(
    st.lists(st.tuples(st.integers(-20, 20), st.none() | st.integers(0, 9), st.booleans())),
    max_size=12,
)
ASKED = st.lists(st.none() | st.integers(-25, 25), max_size=40)


def frame(changes: Sequence[tuple[int, int | None, bool]]) -> pl.DataFrame:
    """Changes in the order of the log; an ended key has no values."""
    return pl.DataFrame(
        {
            "id": [key for key, _, _ in changes],
            "v": [None if ends else value for _, value, ends in changes],
            "text": [None if ends else str(value) for _, value, ends in changes],
            DELETED: [ends for _, _, ends in changes],
        },
        schema={**KINDS, DELETED: pl.Boolean()},
    )


@pytest.mark.parametrize("hashes", [2**64 - 1, 3, 1], ids=["all", "three", "one"])
@settings(deadline=None, max_examples=60)
@given(CHANGES, ASKED)
def test_a_look_up_finds_what_a_dict_would(
    hashes: int, changes: list[list[tuple[int, int | None, bool]]], asked: list[int | None]
) -> None:
    """Also where different keys have one hash; after every batch, in the order asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            table_rows,
            "_hashed",
            lambda rows: (rows.hash_rows(0) % hashes).alias(table_rows.HASH),
        )
        rows = TableRows("id", KINDS)
        known: dict[int, int | None] = {}
        for batch in changes:
            rows.apply(frame(batch))
            for key, value, ends in batch:
                known.pop(key, None)
                if not ends:
                    known[key] = value
            found = rows.find(pl.Series(asked, dtype=pl.Int64))
            assert found[table_rows.FOUND].to_list() == [key in known for key in asked]
            assert found["v"].to_list() == [known.get(key) for key in asked]  # type: ignore[arg-type]  # None is no key
            assert found["id"].to_list() == [key if key in known else None for key in asked]
            assert rows.keys == len(known)
        assert dict(rows.frame().select("id", "v").iter_rows()) == known


def test_any_batching_of_the_changes_gives_the_same_rows() -> None:
    """What is held is a function of the log, not of how it came."""
    log = [(n * 7 % 50, n, n % 5 == 0) for n in range(400)]
    states = []
    for size in (1, 13, 400):
        rows = TableRows("id", KINDS)
        for first in range(0, len(log), size):
            rows.apply(frame(log[first : first + size]))
        states.append(rows.frame().sort("id"))
        assert len(rows._runs) <= 5
    assert states[0].equals(states[1])
    assert states[0].equals(states[2])


def test_rows_are_told_apart_by_task_and_dropped_with_it() -> None:
    """One key in two tasks is two keys, each with its own row."""
    rows = TableRows("id", KINDS, by_task=True)
    changes = frame([(1, 10, False), (1, 11, False), (2, 20, False), (3, 0, False)])
    rows.apply(changes.with_columns(pl.Series(table_rows.TASK, [0, 1, 1, 0])))
    ends = frame([(3, None, True)]).with_columns(pl.Series(table_rows.TASK, [1]))
    rows.apply(ends)
    keys, tasks = pl.Series([1, 1, 1, 2, 3], dtype=pl.Int64), pl.Series([0, 1, 2, 1, 0])
    assert rows.keys == 4
    assert rows.find(keys, tasks)["v"].to_list() == [10, 11, None, 20, 0]
    rows.drop([1])
    assert (rows.keys, rows.rows) == (2, 2)
    assert rows.find(keys, tasks)["v"].to_list() == [10, None, None, None, 0]


def test_a_table_that_was_cleared_finds_nothing() -> None:
    """And takes in rows anew."""
    rows = TableRows("id", KINDS)
    rows.apply(frame([(1, 1, False)]))
    before = rows.changes
    rows.clear()
    assert rows.keys == 0
    assert rows.changes > before
    assert not rows.find(pl.Series([1], dtype=pl.Int64))[table_rows.FOUND].any()
    rows.apply(frame([(1, 2, False)]))
    assert rows.find(pl.Series([1], dtype=pl.Int64))["v"].to_list() == [2]


ODD = ("_hash", "_task", "_found", "_at", "_time", "_start", "begins", "slot", "there", "since")


@pytest.mark.parametrize("key", ["id", *ODD])
@pytest.mark.parametrize("hashes", [2**64 - 1, 1], ids=["all", "one"])
def test_fields_may_have_any_name(key: str, hashes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own marks beside them are never taken for a field of a contract, nor a field for one."""
    for module in (table_rows, versioned_rows):
        monkeypatch.setattr(
            module, "_hashed", lambda rows: (rows.hash_rows(0) % hashes).alias(table_rows.HASH)
        )
    fields = [each for each in ("id", *ODD) if each != key]
    kinds = {key: pl.Int64(), **dict.fromkeys(fields, pl.String())}
    tables = TableRows(key, kinds, by_task=True), VersionedRows(key, kinds, by_task=True)
    for number in range(3):  # of which the last comes into a run of the others
        given = pl.DataFrame(
            {
                key: [number, number + 10],
                **{each: [f"{each}-{number}", f"{each}-{number + 10}"] for each in fields},
                TASK: [0, 0],
                TIME: [number, number],
                DELETED: [False, False],
            }
        )
        for table in tables:
            table.apply(given)
    keys, tasks = pl.Series([12, 1, 7]), pl.Series([0, 0, 0])
    newest, valid = tables
    for found in (
        newest.find(keys, tasks),
        valid.find(keys, pl.Series([9, 9, 9]), within_ms=100, tasks=tasks),
    ):
        assert found[table_rows.FOUND].to_list() == [True, True, False]
        for each in fields:
            assert found[each].to_list() == [f"{each}-12", f"{each}-1", None]
        assert found[key].to_list() == [12, 1, None]
    assert newest.keys == valid.keys == 6
