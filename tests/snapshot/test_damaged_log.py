"""What `verify` makes of a table whose own log, or whose records of cuts, are damaged."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.snapshot.lake import (
    FIELDS,
    OTHER_ID,
    Lake,
    contract,
    lookup,
    told,
)

from headwater.errors import DamagedError, StartRefusedError
from headwater.snapshot.rows import RowCodec

# -- a log that cannot be read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "told_of"),
    [
        (lambda lake: lake.entry(1).unlink(), "lacks version 1"),
        (lambda lake: lake.entry(0).unlink(), "metadata"),
        (lambda lake: lake.entry(1).write_text("{"), "Truncated"),
        (lambda lake: lake.entry(0).write_bytes(b"\xff\xfe\0"), "unexpected"),
    ],
    ids=["entry gone", "first entry gone", "entry cut short", "entry garbled"],
)
def test_a_log_of_the_table_that_cannot_be_read_is_a_difference(
    lake: Lake, harm: Callable[[Lake], None], told_of: str
) -> None:
    """One sentence, without a stack; and the writer refuses to go on."""
    harm(lake)
    verdict = lake.verify()
    assert verdict.outcome == "different"
    (line,) = told(verdict)
    assert told_of in line
    assert "\n" not in line
    with pytest.raises(DamagedError) as refused:
        lake.take()
    assert (refused.value.code, refused.value.exit_code) == ("SNAPSHOT_DAMAGED", 78)


def test_an_emptied_entry_is_a_gap(lake: Lake) -> None:
    """The rows and the record of the commit are gone together."""
    lake.publish(300, 400)
    lake.take()
    lake.entry(2).write_text("")
    assert {d.kind for d in lake.verify().differences} == {"gap"}


def test_a_table_cut_back_to_an_older_snapshot_is_equal(lake: Lake) -> None:
    """Verification proves what the table holds; that it is the newest it cannot know."""
    lake.entry(2).unlink()
    verdict = lake.verify()
    assert (verdict.outcome, verdict.commits) == ("equal", 1)


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    """A record that lacks a field."""
    return {key: value for key, value in record.items() if key != name}


def first_range(**fields: object) -> Callable[[dict[str, Any]], object]:
    """A record whose first range says otherwise."""

    def change(record: dict[str, Any]) -> object:
        record["ranges"][0].update(fields)
        return record

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda record: "{",
        lambda record: "[]",
        lambda record: without(record, "ranges"),
        lambda record: without(record, "schema_id"),
        lambda record: record | {"ranges": 3},
        first_range(start="0"),
        first_range(hash=5),
        first_range(hash="zz"),
        first_range(hash="0x" + "1" * 30),
        first_range(end=-1),
        first_range(partition=1 << 31),
        lambda record: record | {"committed_at_ms": 10**18},
        lambda record: record | {"mode": "appemd"},
        lambda record: record | {"mode": "latest", "buckets": 3},
        lambda record: record | {"days": {"before": "2026-13-01"}},
    ],
    ids=[
        *("no json", "a list", "no ranges", "no schema", "one range", "text", "number"),
        *("no hash", "a prefix", "backwards", "no partition", "no time", "no mode"),
        *("no buckets", "no day"),
    ],
)
def test_a_record_that_cannot_be_read_is_a_difference(
    lake: Lake, change: Callable[[dict[str, Any]], object]
) -> None:
    """The commit is named, and so are its rows with file, partition and offsets."""
    lake.edit_record(change)
    verdict = lake.verify()
    assert any("damaged" in line and "version 1" in line for line in told(verdict))
    stray = [d for d in verdict.differences if d.kind == "unaccounted"]
    assert {(d.partition, d.offset) for d in stray} == {(0, 0), (1, 0), (2, 0)}
    lake.edit_record(change, version=2)
    with pytest.raises(DamagedError, match="version 2"):  # the newest says where to go on
        lake.take()


def test_a_hash_of_other_rows_is_a_difference(lake: Lake) -> None:
    """The partition and its range are named."""
    text = "0" * 32
    lake.edit_record(first_range(hash=text))
    verdict = lake.verify()
    assert [(d.kind, d.partition) for d in verdict.differences] == [("recorded", 0)]
    assert "[0, " in told(verdict)[0]


def test_what_a_newer_release_adds_to_a_record_is_ignored(lake: Lake) -> None:
    """Unknown keys are no damage."""
    lake.edit_record(lambda record: record | {"signature": "x"})
    lake.edit_record(first_range(bloom=[1, 2]))
    assert lake.verify().outcome == "equal"


def test_rows_recorded_for_an_empty_range_are_a_difference(lake: Lake) -> None:
    """A range without offsets has no rows."""
    lake.edit_record(lambda record: record | {"ranges": [*record["ranges"], EMPTY | {"rows": 1}]})
    found = [(d.kind, d.partition) for d in lake.verify().differences]
    assert found == [("recorded", None), ("recorded", 5)]  # the id is not that of the ranges


EMPTY = {"partition": 5, "start": 3, "end": 3, "rows": 0, "hash": "0" * 32}


def test_an_unknown_schema_cannot_be_decided(lake: Lake) -> None:
    """Rows of a schema that the registry does not know are counted, not compared."""
    lake.edit_record(lambda record: record | {"schema_id": 9999})
    verdict = lake.verify()
    assert (verdict.outcome, verdict.undecided) == ("unverifiable", ("no schema 9999",))
    lake.rewrite(0, lambda rows: rows.slice(1))
    assert lake.verify().outcome == "different"


def test_a_record_that_names_another_contract_is_a_difference(lake: Lake) -> None:
    """The columns of the table are not those of the schema."""
    lake.edit_record(lambda record: record | {"schema_id": OTHER_ID})
    verdict = lake.verify()
    assert "note is not stored" in told(verdict)[0]


# -- a contract whose columns changed --------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "phrase"),
    [
        ([FIELDS[0], FIELDS[1] | {"type": "float"}], "amount is float, stored as double"),
        ([FIELDS[0], FIELDS[1] | {"type": "long"}], "amount is int64, stored as double"),
    ],
    ids=["narrower", "other type"],
)
def test_a_column_of_another_type_is_refused_at_once(
    lake: Lake, fields: list[dict[str, Any]], phrase: str
) -> None:
    """Before anything is read or written, with nothing new to take, and with the way on."""
    files = set(lake.directory.rglob("*"))
    for published in (0, 10):
        lake.publish(300, 300 + published)
        with pytest.raises(StartRefusedError, match=phrase) as refused:
            lake.take(RowCodec(contract(fields), OTHER_ID, lookup=lookup))
        assert refused.value.code == "SNAPSHOT_COLUMNS"
        assert "--to" in str(refused.value)
    assert set(lake.directory.rglob("*")) == files
    assert lake.verify().outcome == "equal"


@pytest.mark.parametrize(
    "fields",
    [
        {"commit_id": "6f3d0d6c"},
        {"product": "shop.parcels"},
        {"days": {"before": "2013-05-09", "is_assumed": False, "corrected": {}}},
    ],
    ids=["id", "product", "closed days"],
)
def test_a_commit_that_says_of_itself_what_its_id_does_not_is_a_difference(
    lake: Lake, fields: dict[str, Any]
) -> None:
    """Its id is made of product, ranges and days, so each of them is proved by it."""
    lake.edit_record(lambda record: record | fields)
    (line,) = told(lake.verify())
    assert "version 1 has another id" in line


@pytest.mark.parametrize("moved", [-1, 1], ids=["back", "on"])
def test_offsets_that_are_not_those_of_the_last_record_are_refused(lake: Lake, moved: int) -> None:
    """Whoever went on there would take a row twice, or leave one out."""

    def move(line: dict[str, Any]) -> None:
        line["txn"]["version"] += moved

    lake.edit(2, lambda line: line.get("txn", {}).get("appId", "").endswith("/1"), move)
    lake.publish(300, 310)
    with pytest.raises(DamagedError, match="ends elsewhere than its offsets"):
        lake.take()
