"""`verify` of older cuts: as of one commit, or of each that the table keeps."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.snapshot import processes
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import TOPIC, Lake, codec
from tests.snapshot.ledger import Ledger
from tests.snapshot.test_upkeep import later

from headwater.adapters.memory import MemoryRangeReader, MemoryTopics
from headwater.clock import ManualClock
from headwater.errors import ConfigurationError, UnverifiableError
from headwater.model import Partition
from headwater.ports import Change, CommitRecord, NewFile, Records
from headwater.snapshot.upkeep import Upkeep
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.verifier import Verifier


@pytest.fixture(params=FORMATS)
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """Three hundred orders in two commits, in any format."""
    return Lake(tmp_path / "orders", request.param)


def verifier(kept: Lake | Ledger, *, full: bool = False) -> Verifier:
    """One that could be a process of its own."""
    return processes.verifier(kept, TOPIC, codec, full=full)


def outcomes(kept: Lake | Ledger) -> list[tuple[int, str]]:
    """Of every cut, as many rows and what came of them."""
    return [(each.rows, each.outcome) for each in verifier(kept).verify_all()]


def meddled(lake: Lake | Ledger, partition: int) -> None:
    """Another writer changes the amounts of a partition's newest file, by the table's own means."""
    table = lake.table()
    held = [each for each in table.files() if each.partitions == (partition, partition)]
    file = max(held, key=lambda each: each.offsets or (0, 0))
    rows = pa.Table.from_batches(table.scan(file.name))
    place = rows.schema.get_field_index("amount")
    other = rows.set_column(place, "amount", pc.add(rows["amount"], 1.0))
    table.commit(Change([NewFile(Path(file.name).stem, other)], None, removed=[file.name]))


def test_each_cut_is_proved_with_the_rows_it_had(any_lake: Lake) -> None:
    """By version, by commit id and by time; and all of them in one go."""
    (first, record), (second, _) = any_lake.table().commits()
    assert isinstance(record, CommitRecord)
    for at, rows in ((str(first), 200), (record.commit_id[:8], 200), (str(second), 300)):
        verdict = verifier(any_lake).verify(at=at)
        assert (verdict.outcome, verdict.rows) == ("equal", rows)
    assert verifier(any_lake).verify(at="1970-01-02").version == second
    assert outcomes(any_lake) == [(200, "equal"), (300, "equal")]


def test_what_happened_after_a_cut_is_none_of_its_faults(any_lake: Lake) -> None:
    """The newest version is different, and the cut before it is as it was."""
    meddled(any_lake, 0)
    first, newest = verifier(any_lake).verify_all()
    assert (first.outcome, newest.outcome) == ("equal", "different")
    assert {each.kind for each in newest.differences} == {"changed"}
    assert newest == verifier(any_lake).verify()


def test_a_damaged_file_is_told_of_every_cut_that_has_it(any_lake: Lake) -> None:
    """And of no other."""
    any_lake.publish(300, 320)
    any_lake.take()
    path = min(any_lake.directory.rglob("part-1-*.parquet"), key=lambda each: -each.stat().st_ino)
    held = [
        any(each.name.endswith(path.name) for each in any_lake.table().files(version))
        for version, _ in any_lake.table().commits()
    ]
    path.write_bytes(path.read_bytes()[:-40])
    found = [outcome for _, outcome in outcomes(any_lake)]
    assert found == ["different" if is_held else "equal" for is_held in held]


def test_rows_of_a_later_cut_are_of_no_commit_in_an_earlier_one(any_lake: Lake) -> None:
    """A reader of the earlier cut must not see them; in the later one they stand twice."""
    table = any_lake.table()
    file = next(each for each in table.files() if each.partitions == (0, 0))
    row = pa.Table.from_batches(table.scan(file.name)).slice(0, 1)
    end = MemoryTopics(any_lake.broker).ends(TOPIC)[Partition(TOPIC, 0)]
    at = row.schema.get_field_index("_offset")
    row = row.set_column(at, row.schema.field(at), pa.array([end], pa.int64()))
    table.commit(Change([NewFile("early", row)], None))
    any_lake.publish(300, 330)
    any_lake.take()
    first, second, third = verifier(any_lake).verify_all()
    assert first.outcome == "equal"
    assert [(d.kind, d.partition, d.offset) for d in second.differences] == [
        ("unaccounted", 0, end)
    ]
    assert [(d.kind, d.partition, d.offset) for d in third.differences] == [("extra", 0, end)]


def test_one_record_in_a_hundred_is_read_by_the_row_codec_too(tmp_path: Path) -> None:
    """Those whose offset 100 divides, and with `full` all."""
    lake = Lake(tmp_path / "orders")
    lake.publish(300, 800)
    lake.take()
    ends = MemoryTopics(lake.broker).ends(TOPIC).values()
    assert verifier(lake).verify().sampled == sum(-(-end // 100) for end in ends)
    every = verifier(lake, full=True).verify_all()
    assert [each.sampled for each in every] == [200, 300, 800]


def test_files_that_upkeep_took_make_an_older_cut_one_that_is_not_kept(tmp_path: Path) -> None:
    """It is neither right nor wrong; the newest version must be whole all the same."""
    lake = Lake(tmp_path / "orders")
    table = lake.table()
    files = table.files()
    merged = pa.concat_tables(
        [pa.Table.from_batches(table.scan(each.name)) for each in files]
    ).sort_by([("_partition", "ascending"), ("_offset", "ascending")])
    lake.publish(300, 301)
    lake.take()
    table = lake.table()
    table.commit(Change([NewFile("merged", merged)], None, removed=[each.name for each in files]))
    for each in files:
        (lake.directory / each.name).unlink()
    assert outcomes(lake) == [(200, "not kept"), (300, "not kept"), (301, "equal")]
    verdict = verifier(lake).verify(at="1")
    assert "does not keep its version" in verdict.undecided[0]


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_committed_while_cuts_are_looked_for_is_of_none_of_them(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where upkeep lets go of an older one meanwhile, so that the table is asked again."""
    lake = Lake(tmp_path / "orders", format_)
    table = lake.table()
    table.pin("audit", table.version() or 0)
    asked = table.commits

    def meanwhile() -> object:
        monkeypatch.setattr(table, "commits", asked)
        found = asked()
        lake.publish(300, 310)
        lake.take()
        lake.table().tidy(later(2).wall_ms(), 0)
        return found

    monkeypatch.setattr(table, "commits", meanwhile)
    verdicts = replace(verifier(lake), open_table=lambda: table).verify_all()
    assert [(each.rows, each.outcome) for each in verdicts][-1] == (300, "equal")
    assert outcomes(lake)[-1] == (310, "equal")


def test_a_file_that_is_lost_is_damage_of_every_cut_that_has_it(any_lake: Lake) -> None:
    """The newest version names it too, so it was not upkeep that took it."""
    any_lake.file(0).unlink()
    assert outcomes(any_lake) == [(200, "different"), (300, "different")]


def test_a_pinned_cut_is_verified_after_upkeep(any_lake: Lake) -> None:
    """By its own version, where the one that readers got before the next cut is gone."""
    version = any_lake.table().commits()[-1][0]
    any_lake.table().pin("audit", version)
    _upkeep(any_lake)
    any_lake.publish(300, 330)
    any_lake.take()
    _upkeep(any_lake)
    assert outcomes(any_lake)[1:] == [(300, "equal"), (330, "equal")]


def _upkeep(lake: Lake) -> None:
    """Merge the files of each partition, and sweep as days later."""
    largest = max(each.size or 0 for each in lake.table().files())
    clock = ManualClock(at_s=time.time() + 3 * 86_400)
    done = Upkeep(lake.table(), 2 * largest + 2, 86_400_000, clock).run()
    assert done.merged


def test_a_cut_that_is_none_is_refused(any_lake: Lake) -> None:
    """With what there is."""
    with pytest.raises(UnverifiableError, match="has no commit 0"):
        verifier(any_lake).verify(at="0")
    with pytest.raises(ConfigurationError, match="no table version"):
        verifier(any_lake).verify(at="yesterday")


class CountingReader:
    """Counts the records that a reader gave."""

    def __init__(self, inner: MemoryRangeReader) -> None:
        self.inner = inner
        self.records = 0

    def read(
        self, ranges: dict[Partition, tuple[int, int]], *, max_records: int
    ) -> Iterator[Records]:
        """As the inner one."""
        for part in self.inner.read(ranges, max_records=max_records):
            self.records += len(part)
            yield part

    def close(self) -> None:
        """As the inner one."""


@pytest.mark.parametrize("mode", ["append", "latest"])
def test_the_log_is_read_once_for_all_cuts(mode: str, tmp_path: Path) -> None:
    """Ten commits are no ten readings."""
    kept = Lake(tmp_path / "orders") if mode == "append" else ledger_of(3)
    log = sum(MemoryTopics(kept.broker).ends(TOPIC).values())
    reader = CountingReader(MemoryRangeReader(kept.broker))
    of_many = verifier(kept)
    counted = Verifier(
        topic=TOPIC,
        topics=of_many.topics,
        reader=reader,  # type: ignore[arg-type]  # its mapping is a dict
        open_table=kept.table,
        codecs=codec,
    )
    assert all(each.outcome == "equal" for each in counted.verify_all())
    assert reader.records == log


def test_what_the_log_no_longer_holds_is_counted_and_never_right(any_lake: Lake) -> None:
    """Commits that it still holds are compared; the rows of the others are told by place."""
    ends = {
        taken.partition: taken.end
        for _, record in any_lake.table().commits()[:1]
        if isinstance(record, CommitRecord)
        for taken in record.ranges
    }
    any_lake.broker.partition(Partition(TOPIC, 0)).truncate(ends[0] - 1)
    verdict = verifier(any_lake).verify()
    assert (verdict.outcome, verdict.unchecked) == ("unverifiable", ends[0])
    assert "not checkable any more" in verdict.undecided[0]
    assert f"[0] [0, {ends[0]})" in verdict.undecided[0]
    meddled(any_lake, 0)  # the newest file, whose range the log holds
    assert {each.kind for each in verifier(any_lake).verify().differences} == {"changed"}


# -- mode "latest" ---------------------------------------------------------------------------------


def ledger_of(commits: int) -> Ledger:
    """Orders that change and go, from cut to cut."""
    ledger = Ledger()
    for cut in range(commits):
        ledger.publish({f"order-{n}": n + cut / 4 for n in range(cut, 40 + cut)})
        ledger.delete([f"order-{n}" for n in range(cut + 3)])
        ledger.take()
    return ledger


def test_every_cut_of_the_latest_is_the_log_folded_so_far() -> None:
    """Each with its own rows, though later ones replaced them."""
    ledger = ledger_of(4)
    verdicts = verifier(ledger, full=True).verify_all()
    assert [each.outcome for each in verdicts] == ["equal"] * 4
    assert verdicts[0].sampled < verdicts[-1].sampled
    for verdict in verdicts:
        assert verifier(ledger, full=True).verify(at=str(verdict.version)) == verdict


def test_an_older_cut_of_a_compacted_log_is_undecided_where_records_went() -> None:
    """Counted, and the newest cut is proved."""
    ledger = Ledger(policy="compact")
    ledger.publish({f"order-{n}": n for n in range(40)})
    ledger.take()
    ledger.publish({f"order-{n}": n + 1 for n in range(10)})
    ledger.take()
    ledger.compact()
    first, newest = verifier(ledger).verify_all()
    assert (newest.outcome, newest.unchecked) == ("equal", 0)
    assert (first.outcome, first.unchecked, first.difference_count) == ("unverifiable", 10, 0)


def test_a_changed_row_is_told_of_the_cuts_that_have_it() -> None:
    """Until its bucket is written anew, and then no more."""
    ledger = ledger_of(2)
    meddled(ledger, 1)
    verdicts: list[Verdict] = verifier(ledger).verify_all()
    assert [each.outcome for each in verdicts] == ["equal", "different"]
    assert {(each.kind, each.partition) for each in verdicts[1].differences} == {("changed", 1)}
