"""Tables of the latest row of each key, held against a fold in plain Python."""

from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.snapshot.lake import SCHEMA_ID, SCHEMAS, TOPIC, Lake, told
from tests.snapshot.ledger import Ledger

from headwater.adapters.memory import MemoryBroker
from headwater.assembly.snapshot_modes import mode_mistakes
from headwater.errors import AbortableError, DamagedError, FatalError, StartRefusedError
from headwater.model import Partition
from headwater.product import DataProduct, Snapshot
from headwater.snapshot.buckets import bucket_count

DAY_S = 86_400.0


@pytest.fixture(params=["memory", "delta"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """A log with nothing in it, and no table yet."""
    return Ledger(tmp_path / "orders" if request.param == "delta" else None)


def numbered(begin: int, end: int, amount: float = 1.0) -> dict[str, float]:
    """Orders that cost this."""
    return {f"order-{n}": amount + n for n in range(begin, end)}


def test_one_row_per_key_is_that_of_the_greatest_offset(ledger: Ledger) -> None:
    """Later records replace, tombstones delete, and verification agrees after every cut."""
    ledger.publish(numbered(0, 20))
    ledger.publish(numbered(0, 5, 100.0))
    assert ledger.take().rows_total == 20
    assert ledger.rows() == ledger.expected()
    ledger.publish(numbered(3, 8, 200.0))
    ledger.delete(["order-1", "order-19", "order-77"])
    ledger.publish({"order-19": 3.0})
    taken = ledger.take()
    assert (taken.commits, taken.rows_total) == (1, 19)
    assert ledger.rows() == ledger.expected()
    verdict = ledger.verify()
    assert (verdict.outcome, verdict.rows) == ("equal", 19)
    assert sum(each.rows for each in ledger.last().ranges) == 19
    assert ledger.take().version is None


COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.lists(st.integers(0, 9), max_size=6)),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 9), max_size=3)),
        st.tuples(st.just("take"), st.just([])),
        st.tuples(st.just("compact"), st.just([])),
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(commands=COMMANDS, is_compacted=st.booleans(), limit=st.sampled_from([1, 1 << 27]))
def test_any_history_gives_the_fold_of_its_log(
    commands: list[tuple[str, list[int]]], is_compacted: bool, limit: int
) -> None:
    """Also when hardly anything fits into memory, with buckets of a few rows."""
    ledger = Ledger(policy="compact" if is_compacted else "delete")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwater.snapshot.latest.FOLD_BYTES", limit)
        patch.setattr("headwater.snapshot.latest.READ_RECORDS", 3)
        patch.setattr("headwater.snapshot.buckets.BUCKET_BYTES", 150)
        patch.setattr("headwater.snapshot.buckets.SLICE_ROWS", 2)
        for step, (name, numbers) in enumerate([*commands, ("take", [])]):
            orders = {f"order-{n}": float(step) for n in numbers}
            match name:
                case "publish":
                    ledger.publish(orders)
                case "delete":
                    ledger.delete(list(orders))
                case "compact":
                    if is_compacted:
                        ledger.fold()
                        ledger.compact()
                case _:
                    ledger.take()
                    assert ledger.rows() == ledger.expected()
                    assert ledger.verify().outcome in {"equal", "unverifiable"}
    is_empty = not ledger.table().commits()
    assert (ledger.verify().outcome == "equal") is not is_empty


def names(ledger: Ledger) -> set[str]:
    """The files of the newest version."""
    return {file.name for file in ledger.table().files()}


def test_a_commit_writes_only_the_buckets_it_touches(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as the first commit asked for; the others stay the files they were."""
    monkeypatch.setattr("headwater.snapshot.buckets.BUCKET_BYTES", 1_000)
    ledger.publish(numbered(0, 200))
    ledger.take()
    before, buckets = names(ledger), ledger.last().buckets
    assert buckets > 2
    assert len(before) == 2 * buckets
    ledger.publish(numbered(7, 8, 70.0))
    ledger.take()
    assert len(names(ledger)) == 2 * buckets
    assert len(names(ledger) - before) == 1
    assert ledger.rows() == ledger.expected()
    assert ledger.verify().outcome == "equal"


def test_a_table_that_grew_has_more_buckets(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is divided in two, and none is joined again."""
    monkeypatch.setattr("headwater.snapshot.buckets.BUCKET_BYTES", 1_000)
    ledger.publish(numbered(0, 20))
    ledger.take()
    assert ledger.last().buckets == 1
    ledger.publish(numbered(20, 200))
    ledger.take()
    buckets = ledger.last().buckets
    assert buckets > 2
    ledger.delete([f"order-{n}" for n in range(190)])
    ledger.take()
    assert ledger.last().buckets >= buckets
    assert ledger.rows() == ledger.expected()
    assert ledger.verify().outcome == "equal"


def test_buckets_are_a_power_of_two_of_at_most_twice_the_size() -> None:
    """Between half a target and two of columns in memory; a table never has fewer than before."""
    mb = float(1 << 20)
    counts = [bucket_count(rows, mb, 1) for rows in (0, 127, 128, 255, 256, 10_000)]
    assert counts == [1, 1, 2, 2, 4, 128]
    assert bucket_count(1, mb, 8) == 8


def test_rows_that_another_writer_moved_to_one_file_are_put_into_buckets_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction by Delta's own means is no damage."""
    monkeypatch.setattr("headwater.snapshot.buckets.BUCKET_BYTES", 1_000)
    ledger = Ledger(tmp_path / "orders")
    ledger.publish(numbered(0, 100))
    ledger.take()
    DeltaTable(tmp_path / "orders").optimize.compact()
    assert len(names(ledger)) == 1
    assert ledger.verify().outcome == "equal"
    ledger.publish(numbered(90, 110, 50.0))
    ledger.take()
    assert len(names(ledger)) == 2 * ledger.last().buckets > 2
    assert ledger.rows() == ledger.expected()
    assert ledger.verify().outcome == "equal"


def test_the_loser_of_a_race_writes_nothing(ledger: Ledger) -> None:
    """Of two that look at the same moment one commits, and the other goes on after it."""
    ledger.publish(numbered(0, 10))
    slow, quick = ledger.table(), ledger.table()
    original = slow.files

    def overtaken() -> object:
        if not quick.commits():
            ledger.snapshotter(quick).take()
        return original()

    slow.files = overtaken  # type: ignore[assignment, method-assign]  # the race, at its worst moment
    with pytest.raises(AbortableError) as lost:
        ledger.snapshotter(slow).take()
    assert lost.value.code == "SNAPSHOT_TAKEN"
    assert ledger.take().version is None
    assert ledger.rows() == ledger.expected()


# -- what the log no longer holds ------------------------------------------------------------------


def test_a_plain_log_that_lost_what_follows_is_refused(ledger: Ledger) -> None:
    """What was published in between is nowhere."""
    ledger.publish(numbered(0, 10))
    ledger.take()
    ledger.publish(numbered(0, 40))
    for index in range(2):
        log = ledger.broker.partition(Partition(TOPIC, index))
        log.truncate(log.end)
    with pytest.raises(StartRefusedError) as refused:
        ledger.take()
    assert refused.value.code == "RANGE_LOST"


@pytest.mark.parametrize("hours", [11, 13])
def test_a_cut_older_than_tombstones_are_kept_is_made_anew(hours: int) -> None:
    """A compacted log forgets that a key was deleted; nobody may find the row for ever."""
    ledger = Ledger(policy="compact")
    ledger.publish(numbered(0, 10))
    ledger.take()
    ledger.clock.advance(hours * 3_600)
    ledger.delete(["order-3"])
    ledger.publish({"order-4": 9.0})
    ledger.fold()
    ledger.compact(with_tombstones=hours > 12)
    before = names(ledger)
    ledger.take()
    assert ledger.rows() == ledger.expected()
    assert ledger.verify().outcome == "equal"
    assert len(ledger.table().commits()) == 2
    assert not before & names(ledger) or hours == 11


def test_a_log_that_drops_deletions_and_old_rows_cannot_be_gone_on_from() -> None:
    """With both policies neither what came since nor the whole is to be had."""
    ledger = Ledger(policy="compact,delete")
    ledger.publish(numbered(0, 10))
    ledger.take()
    ledger.clock.advance(DAY_S)
    ledger.publish(numbered(0, 10))
    with pytest.raises(StartRefusedError, match="deletions since then") as refused:
        ledger.take()
    assert refused.value.code == "RANGE_LOST"


def test_a_table_keeps_its_mode(tmp_path: Path) -> None:
    """Rows of two modes in one table would be neither."""
    lake = Lake(tmp_path / "lake")
    ledger = Ledger(tmp_path / "lake", broker=MemoryBroker())
    ledger.broker = lake.broker
    with pytest.raises(StartRefusedError, match="mode 'append', and mode 'latest'") as refused:
        ledger.snapshotter().take()
    assert refused.value.code == "SNAPSHOT_MODE"
    ledger = Ledger(tmp_path / "orders")
    ledger.publish(numbered(0, 3))
    ledger.take()
    lake.directory, lake.broker = tmp_path / "orders", ledger.broker
    with pytest.raises(StartRefusedError, match="mode 'latest', and mode 'append'"):
        lake.take()


@pytest.mark.parametrize("key", [None, b"order-2"])
def test_a_record_under_another_key_than_its_rows_stops_the_snapshot(key: bytes | None) -> None:
    """What is stored tells its key by its columns alone."""
    ledger = Ledger()
    ledger.publish(numbered(0, 1))
    (record,) = ledger.broker.visible(TOPIC)
    ledger.broker.append(TOPIC, record.value, key=key)
    with pytest.raises(FatalError, match=r"shop\.orders\[\d\]@\d .*BAD_KEY") as stopped:
        ledger.snapshotter().take()
    assert stopped.value.code == "UNREADABLE_RECORD"


def test_deletions_alone_make_no_table(ledger: Ledger) -> None:
    """There is no row to make one of; the next cut goes over them again."""
    ledger.delete(["order-1"])
    assert ledger.take().version is None
    ledger.publish(numbered(0, 3))
    ledger.take()
    ledger.delete([f"order-{n}" for n in range(3)])
    assert ledger.take().rows_total == 0
    assert ledger.rows() == []
    assert ledger.verify().outcome == "equal"


@pytest.mark.parametrize(
    ("mode", "told_of"), [("latest", ["SNAPSHOT_WITHOUT_KEY"]), ("append", [])]
)
def test_a_contract_without_key_has_no_latest_row(mode: str, told_of: list[str]) -> None:
    """It is told before anything is read."""
    product = DataProduct(TOPIC, owner="shop@example.org", snapshot=Snapshot("1h", mode))
    product.publish(product.stream("shop.carts", contract=1), contract=1)
    keyed = SCHEMAS[SCHEMA_ID]
    assert list(mode_mistakes(product, {TOPIC: keyed}, {})) == []
    found = mode_mistakes(product, {TOPIC: replace(keyed, key=())}, {})
    assert [problem.code for problem in found] == told_of


def test_a_record_of_before_there_were_modes_is_one_of_append(tmp_path: Path) -> None:
    """Tables go on from what older releases wrote."""
    lake = Lake(tmp_path / "lake")

    def older(record: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in record.items() if name not in {"mode", "buckets"}}

    lake.edit_record(older)
    assert lake.verify().outcome == "equal"
    lake.publish(300, 310)
    assert lake.take().rows == 10


def test_a_stored_row_without_its_key_stops_the_next_commit(tmp_path: Path) -> None:
    """Nobody can tell which row a newer record replaces."""
    ledger = Ledger(tmp_path / "orders")
    ledger.publish(numbered(0, 10))
    ledger.take()
    DeltaTable(tmp_path / "orders").update(predicate="id = 'order-3'", updates={"id": "NULL"})
    ledger.publish(numbered(0, 10))
    with pytest.raises(DamagedError, match="has no key"):
        ledger.take()


# -- proof -----------------------------------------------------------------------------------------


@pytest.fixture
def proved(tmp_path: Path) -> Ledger:
    """A verified table on disk, for others to meddle with."""
    ledger = Ledger(tmp_path / "orders", policy="compact")
    ledger.publish(numbered(0, 30))
    ledger.publish(numbered(0, 5, 40.0))
    ledger.take()
    assert ledger.verify().outcome == "equal"
    return ledger


def place(ledger: Ledger, order: str) -> tuple[int, int]:
    """Partition and offset of an order's row."""
    (found,) = ((p, o) for p, o, name, _ in ledger.expected() if name == order)
    return found


def test_what_is_not_the_fold_is_named(proved: Ledger) -> None:
    """A value changed, a row dropped, and one that a newer record replaced."""
    table = DeltaTable(proved.directory or "")
    table.update(predicate="id = 'order-7'", updates={"amount": "7.5"})
    table.delete("id = 'order-8'")
    table.update(predicate="id = 'order-2'", updates={"_offset": "_offset - 1"})
    partition, offset = place(proved, "order-2")
    assert {(d.kind, d.partition, d.offset) for d in proved.verify().differences} >= {
        ("changed", *place(proved, "order-7")),
        ("missing", *place(proved, "order-8")),
        ("missing", partition, offset),
        ("extra", partition, offset - 1),
    }


def test_a_record_that_is_not_the_tables_is_told(proved: Ledger) -> None:
    """Log and table agree, and the commit says otherwise."""
    path = max((proved.directory or Path()).glob("_delta_log/*.json"))
    text = path.read_text()
    before, name, digits = text.partition('\\"hash\\":\\"')
    path.write_text(before + name + ("1" if digits[0] == "0" else "0") + digits[1:])
    assert [each.split(" ")[1] for each in told(proved.verify())] == ["recorded:"]


def test_a_file_that_rots_is_named(proved: Ledger) -> None:
    """Its rows are not told as missing one by one."""
    path = min((proved.directory or Path()).glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))
    assert [each.kind for each in proved.verify().differences] == ["damaged"]


def test_keys_whose_record_was_compacted_away_are_counted(proved: Ledger) -> None:
    """Nothing is wrong, and nothing proved; what is wrong beside them is still found."""
    proved.publish(numbered(10, 13, 70.0))
    assert proved.verify().outcome == "equal"
    proved.compact()
    verdict = proved.verify()
    assert verdict.outcome == "unverifiable"
    assert sum(int(each.split(" ")[0]) for each in verdict.undecided) == 3
    DeltaTable(proved.directory or "").update(
        predicate="id in ('order-7', 'order-10')", updates={"amount": "7.5"}
    )
    assert {(d.kind, d.partition, d.offset) for d in proved.verify().differences} == {
        ("changed", *place(proved, "order-7")),
        (
            "recorded",
            place(proved, "order-10")[0],
            None,
        ),  # of order-10 the log says nothing, but the commit does
    }


def test_a_key_that_left_the_log_with_its_tombstone_is_undecided_when_that_can_be(
    proved: Ledger,
) -> None:
    """Before a tombstone may go, a row that the log does not know is one too many."""
    proved.delete(["order-3"])
    proved.compact(with_tombstones=True)
    assert {d.kind for d in proved.verify().differences} == {"extra"}
    proved.clock.advance(DAY_S)
    assert proved.verify().outcome == "unverifiable"


def test_a_log_that_was_cut_short_leaves_its_rows_undecided(ledger: Ledger) -> None:
    """What it still holds is compared."""
    ledger.publish(numbered(0, 20))
    ledger.take()
    for index in range(2):
        ledger.broker.partition(Partition(TOPIC, index)).truncate(3)
    verdict = ledger.verify()
    assert verdict.outcome == "unverifiable"
    assert [each.split(" ")[0] for each in verdict.undecided] == ["3", "3"]
