"""Statistics go with the commits of a table, and are made anew where they are missing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from tests.snapshot.lake import SCHEMA_ID, SCHEMAS, Lake
from tests.snapshot.ledger import Ledger

from headwater.adapters.delta import table as delta
from headwater.adapters.delta.log import put_entry
from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.assembly.statistics import StatisticsReader
from headwater.errors import ConfigurationError, OvertakenError, UnverifiableError
from headwater.ports import Change, CommitRecord, NewFile, Table
from headwater.snapshot.freezing import Freezing
from headwater.snapshot.statistics import TableStatistics

FOLDER = "_statistics"


def kept(lake: Lake) -> list[str]:
    """The files of statistics."""
    return sorted(path.name for path in (lake.directory / FOLDER).iterdir())


def records(lake: Lake) -> list[CommitRecord]:
    """What the commits say."""
    return [record for _, record in lake.table().commits() if isinstance(record, CommitRecord)]


def scanned(table: Table) -> list[pa.RecordBatch]:
    """All rows."""
    return [batch for file in table.files() for batch in table.scan(file.name)]


def told(found: TableStatistics) -> list[Any]:
    """What is exact of it."""
    id_, amount = found.columns["id"], found.columns["amount"]
    assert found.identities is not None
    return [found.rows, found.identities.estimate().value, id_.least, amount.least, amount.greatest]


def test_each_commit_keeps_statistics_of_the_whole_table(lake: Lake) -> None:
    """As of its cut, under the name its record has, though no data are read."""
    for path in lake.directory.glob("*.parquet"):
        path.unlink()
    reader = StatisticsReader(lake.table())
    first, last = reader.read("1"), reader.read()
    assert told(first.table) == [200, 200, "order-0", 0.0, 199 / 4]
    assert told(last.table) == [300, 300, "order-0", 0.0, 299 / 4]
    assert kept(lake) == sorted(f"{each.statistics}.json.zst" for each in records(lake))
    assert last.table.commit_id == records(lake)[-1].commit_id
    assert sum(last.table.cut.values()) == 300


def test_a_change_that_takes_files_out_is_told_by_the_rows_that_are_left(lake: Lake) -> None:
    """As `latest` writes: what the table holds afterwards counts, never what it held."""
    table = lake.table()
    ids, rows = records(lake)[-1], pa.Table.from_batches(scanned(table))
    replaced = NewFile("part-0-new", rows.filter(pc.field("_partition") == 0).slice(0, 5))
    removed = [each.name for each in table.files() if each.partitions == (0, 0)]
    left = rows.filter(pc.field("_partition") != 0).num_rows + 5
    record = replace(ids, commit_id="again", ranges=())
    found = Freezing(table, SCHEMAS[SCHEMA_ID]).frozen(Change([replaced], record, removed))
    assert found.record is not None
    table.commit(found)
    assert table.rows() == left
    assert told(StatisticsReader(lake.table()).read().table)[:2] == [left, left]


def test_upkeep_has_no_statistics_of_its_own(lake: Lake) -> None:
    """It changes no row and has no record to name them."""
    change = Change([], None)
    assert Freezing(lake.table(), SCHEMAS[SCHEMA_ID]).frozen(change) is change


@pytest.mark.parametrize("harm", ["gone", "damaged", "older release"])
def test_missing_statistics_are_made_anew_from_the_rows(lake: Lake, harm: str) -> None:
    """A table of an older release, a lost file, a broken one: the next cut is right again."""
    path = lake.directory / FOLDER / f"{records(lake)[-1].statistics}.json.zst"
    if harm == "gone":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(b"no statistics")
    else:
        for version in (1, 2):
            lake.edit(version, lambda line: "commitInfo" in line, _forgotten)
        with pytest.raises(UnverifiableError) as caught:
            StatisticsReader(lake.table()).read()
        assert caught.value.code == "NO_STATISTICS"
    lake.publish(300, 310)
    lake.take()
    assert told(StatisticsReader(lake.table()).read().table) == [310, 310, "order-0", 0.0, 309 / 4]
    assert lake.verify().outcome == "equal"


def _forgotten(line: dict[str, Any]) -> None:
    text = line["commitInfo"]["headwater"]
    head, _, _ = text.partition(',"statistics"')
    line["commitInfo"]["headwater"] = f"{head}}}"


def test_who_is_overtaken_leaves_no_statistics(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes none from the winner, whose commit id is the same."""
    lake.publish(300, 310)

    def overtaken(*arguments: Any) -> bool:
        monkeypatch.setattr(delta, "put_entry", put_entry)
        lake.take()
        return put_entry(*arguments)

    monkeypatch.setattr(delta, "put_entry", overtaken)
    with pytest.raises(OvertakenError):
        lake.take()
    assert len(records(lake)) == len(kept(lake)) == 3
    assert told(StatisticsReader(lake.table()).read().table)[0] == 310


def test_a_crash_before_the_commit_leaves_an_orphan_only(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run commits the same range under statistics of its own."""
    lake.publish(300, 310)

    class Crash(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(delta, "put_entry", crash)
        patch.setattr(delta, "discard_statistics", lambda *_: None)
        with pytest.raises(Crash):
            lake.take()
    assert (len(kept(lake)), len(records(lake))) == (3, 2)
    lake.take()
    assert (len(kept(lake)), len(records(lake))) == (4, 3)
    assert told(StatisticsReader(lake.table()).read().table)[0] == 310
    assert lake.verify().outcome == "equal"


def test_cuts_are_named_by_version_id_or_time(lake: Lake, tmp_path: Path) -> None:
    """The newest that is not behind it; what is none of them, or before the first, is told."""
    reader = StatisticsReader(lake.table())
    id_ = records(lake)[0].commit_id
    for at, rows in (("1", 200), ("2", 300), ("7", 300), (id_, 200), (id_[:8], 200)):
        assert reader.read(at).table.rows == rows
    assert reader.read("1970-01-01T00:01:40Z").table.rows == 300
    assert reader.read("2026-01-01").table.rows == 300
    for at in ("0", "1970-01-01", "00000000-0"):
        with pytest.raises(UnverifiableError) as undecided:
            reader.read(at)
        assert undecided.value.code == "NO_CUT"
    with pytest.raises(ConfigurationError) as wrong:
        reader.read("yesterday")
    assert wrong.value.problems[0].code == "BAD_CUT"
    with pytest.raises(UnverifiableError) as nothing:
        StatisticsReader(
            DeltaSnapshotTable(DirectoryFiles(tmp_path / "no"), product="p", topic="t")
        ).read()
    assert nothing.value.code == "NO_SNAPSHOT"


def test_a_record_leads_to_no_file_elsewhere(lake: Lake) -> None:
    """A name that was tampered with is looked for among statistics alone."""
    (lake.directory / "secret.json.zst").write_bytes(b"not for you")
    assert lake.table().statistics("../secret") is None


# -- mode "latest" ---------------------------------------------------------------------------------


def of_ledger(ledger: Ledger) -> list[Any]:
    """What is exact of the statistics of the newest cut: rows, least and greatest amount."""
    found = StatisticsReader(ledger.table()).read().table
    return [found.rows, found.columns["amount"].least, found.columns["amount"].greatest]


def expected(ledger: Ledger) -> list[Any]:
    """The same of the rows that the table should hold."""
    amounts = [row[-1] for row in ledger.expected()]
    return [len(amounts), min(amounts), max(amounts)]


def test_statistics_of_the_latest_are_those_of_the_rows_that_are_left(tmp_path: Path) -> None:
    """What was replaced or deleted is in them no more, which no sketch could forget."""
    ledger = Ledger(tmp_path / "orders")
    ledger.publish({f"order-{n}": float(n) for n in range(60)})
    ledger.take()
    assert of_ledger(ledger) == expected(ledger) == [60, 0.0, 59.0]
    ledger.delete(["order-59", "order-58"])
    ledger.publish({"order-0": 7.5})
    ledger.take()
    assert of_ledger(ledger) == expected(ledger) == [58, 1.0, 57.0]


def test_a_bucket_that_did_not_change_is_not_read_for_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of its file were kept; without them, its rows are read, and nothing else differs."""
    monkeypatch.setattr("headwater.snapshot.latest.bucket_count", lambda *_: 8)
    ledger = Ledger(tmp_path / "orders")
    ledger.publish({f"order-{n}": float(n) for n in range(300)})
    ledger.take()
    read: list[str] = []
    scan = DeltaSnapshotTable.scan

    def counted(table: DeltaSnapshotTable, name: str) -> Any:
        read.append(name)
        return scan(table, name)

    monkeypatch.setattr(DeltaSnapshotTable, "scan", counted)
    ledger.publish({"order-7": 1_000.0})
    ledger.take()
    assert len(read) == 1  # the bucket of order-7, which is written anew
    assert of_ledger(ledger) == expected(ledger) == [300, 0.0, 1_000.0]
    for path in (tmp_path / "orders" / FOLDER).iterdir():
        path.unlink()
    ledger.publish({"order-7": 2.0})
    ledger.take()
    assert len(read) > 15
    assert of_ledger(ledger) == expected(ledger) == [300, 0.0, 299.0]


def test_rows_of_another_writer_are_in_the_statistics_of_the_next_cut(tmp_path: Path) -> None:
    """The files of the table count, and not those that the last commit left."""
    ledger = Ledger(tmp_path / "orders")
    ledger.publish({f"order-{n}": float(n) for n in range(60)})
    ledger.take()
    DeltaTable(tmp_path / "orders").update(
        predicate="id = 'order-1'", updates={"amount": "amount + 5000"}
    )
    ledger.publish({"order-2": 3.25})
    ledger.take()
    assert of_ledger(ledger)[2] == 5_001.0
