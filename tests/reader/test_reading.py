"""Snapshot, then log: each event once, whatever happens meanwhile."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.reader.shop import FIELDS, NOTE, TOPIC, Place, Shop, assert_each_once, contract, places

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.errors import FatalError, ReadRefusedError
from headwater.model import Partition
from headwater.ports import TopicSettings
from headwater.reader import log as reader_log
from headwater.reader.position import ReadPosition
from headwater.reader.product import EPOCH
from headwater.reader.reading import Reading

REPOSITORY = Path(__file__).parents[2]
HISTORIES = 60
STEPS = 25


def all_of(reading: Reading) -> list[Place]:
    """Everything that is read, to its end."""
    return [place for frame in reading for place in places(frame)]


def refusal(shop: Shop, from_: str = "snapshot") -> str:
    """The code with which everything up to now cannot be read."""
    with pytest.raises(ReadRefusedError) as refused:
        all_of(shop.product().read(from_, "now"))
    return refused.value.code


@pytest.fixture(params=["memory", "delta"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """A shop with two snapshots, and orders behind them."""
    table = DeltaSnapshotTable(DirectoryFiles(tmp_path / TOPIC), product=TOPIC, topic=TOPIC)
    shop = Shop(table if request.param == "delta" else None)
    shop.publish(50)
    shop.take()
    shop.publish(20, is_aborted=True)
    shop.publish(30)
    shop.take()
    shop.publish(7)
    return shop


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_each_event_comes_exactly_once_through_stored_tokens(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random publishing, aborts, snapshots, compaction; readers that stop and resume anywhere."""
    chance = random.Random(seed)
    monkeypatch.setattr(reader_log, "READ_RECORDS", chance.choice([1, 3, 20]))
    shop = Shop()
    for _ in range(3):
        shop.publish(chance.randrange(1, 30))
        shop.take()
    reading = shop.product().read(until="now")
    read: list[Place] = []
    for _ in range(STEPS):
        match chance.randrange(6):
            case 0:
                shop.publish(chance.randrange(1, 9), is_aborted=chance.random() < 0.3)
            case 1:
                shop.take()
            case 2:
                shop.compact(chance)
            case 3:
                reading = shop.product().read(reading.token, chance.choice(["now", "now", None]))
            case _:
                if (frame := next_of(reading, shop)) is not None:
                    read += places(frame)
    read += all_of(shop.product().read(reading.token, "now"))
    assert_each_once(read, shop.published())


def next_of(reading: Reading, shop: Shop) -> pl.DataFrame | None:
    """The next frame; there is one to come where the reading never ends."""
    shop.publish(1)
    return next(reading, None)


def test_the_rows_of_a_file_are_read_on_in_its_middle(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token told within a file goes on behind the very frame, after a compaction too."""
    monkeypatch.setattr("headwater.adapters.parquet.reading.BATCH_ROWS", 4)
    reading = shop.product().read(until="now")
    read: list[Place] = []
    for round_ in range(1000):
        frame = next(reading, None)
        if frame is None:
            break
        read += places(frame)
        if round_ == 2:
            for chance in range(4):
                shop.compact(random.Random(chance))
        reading = shop.product().read(reading.token, "now")
    assert_each_once(read, shop.published())


def test_rows_of_snapshot_and_log_are_the_same(shop: Shop) -> None:
    """Columns, types and values: nobody can tell where a frame came from."""
    from_log = pl.concat(list(shop.product().read("beginning", "now")))
    both = pl.concat(list(shop.product().read("snapshot", "now")))
    order = ["_partition", "_offset"]
    assert both.sort(order).equals(from_log.sort(order))
    assert both.schema == from_log.schema
    assert both.columns == ["id", "amount", "placed_at", "_partition", "_offset", "_timestamp"]


def test_a_reading_without_end_goes_on_with_what_is_published(shop: Shop) -> None:
    """Frames come as events do, and the place moves over control records."""
    reading = shop.product().read()
    seen = 0
    while seen < 87:
        seen += next(reading).height
    shop.publish(5)
    while seen < 92:
        seen += next(reading).height
    reading.close()
    assert all_of(shop.product().read(reading.token, "now")) == []


def test_a_log_that_begins_behind_the_cut_is_no_silent_gap(shop: Shop) -> None:
    """Retention took what follows the snapshot: told before the first row."""
    shop.broker.partition(Partition(TOPIC, 0)).truncate(
        shop.broker.partition(Partition(TOPIC, 0)).end
    )
    assert refusal(shop) == "CUT_LOST"


def test_retention_that_overtakes_a_reader_is_told(shop: Shop) -> None:
    """Also while it is still among the rows of the snapshot."""
    reading = shop.product().read(until="now")
    next(reading)
    log = shop.broker.partition(Partition(TOPIC, 1))
    log.truncate(log.end)
    with pytest.raises(ReadRefusedError, match="no longer holds") as refused:
        all_of(reading)
    assert refused.value.code == "CUT_LOST"


def test_partitions_that_come_later_are_followed_from_their_first_record(shop: Shop) -> None:
    """A reading that never ends asks for them now and then; its token holds them."""
    reading = shop.product().read("end")
    shop.publish(5)
    read = places(next(reading))
    shop.broker.grow(TOPIC, 5)
    shop.publish(40)
    while len(read) < 45:
        read += places(next(reading))
    assert {partition for partition, _ in read} == set(range(5))
    assert reading.position.offsets.keys() == set(range(5))
    assert all_of(shop.product().read(reading.token, "now")) == []


def test_partitions_that_came_and_were_cut_short_are_no_silent_gap(shop: Shop) -> None:
    """Neither snapshot nor token held them: what retention took of them was never read."""
    token = shop.product().read("end").token
    following = shop.product().read("end")
    shop.publish(5)
    next(following)
    shop.broker.grow(TOPIC, 5)
    shop.publish(40)
    log = shop.broker.partition(Partition(TOPIC, 4))
    log.truncate(log.end)
    assert refusal(shop) == refusal(shop, token) == "CUT_LOST"
    with pytest.raises(ReadRefusedError) as refused:
        all_of(following)
    assert refused.value.code == "CUT_LOST"


def test_a_topic_made_again_is_another_log(shop: Shop) -> None:
    """Its offsets mean other events: neither snapshot nor token leads on to it."""
    token = shop.product().read("end").token
    shop.broker.create(TopicSettings(TOPIC, 3, "log", {"cleanup.policy": "delete"}))
    assert refusal(shop) == "SOURCE_RECREATED"
    assert refusal(shop, token) == "SOURCE_RECREATED"


def test_a_topic_made_again_meanwhile_is_noticed(shop: Shop) -> None:
    """A reading that never ends asks now and then; ids are told as Kafka's tools show them."""
    shop.broker.topic(TOPIC).topic_id = "/q+Q#1"
    reading = shop.product().read("end")
    shop.broker.create(TopicSettings(TOPIC, 3, "log", {"cleanup.policy": "delete"}))
    with pytest.raises(ReadRefusedError, match="it was _q-Q#1, now shop") as refused:
        next(reading)
    assert refused.value.code == "SOURCE_RECREATED"


def test_tokens_of_others_and_nonsense_are_refused(shop: Shop) -> None:
    """A place in another log is no place here."""
    other = ReadPosition("shop.returns", "x", {0: 1}).to_text()
    assert refusal(shop, other) == "TOKEN_OF_ANOTHER"
    assert refusal(shop, "latest") == "BAD_TOKEN"


def test_a_version_that_was_cleaned_up_says_to_begin_again(tmp_path: Path) -> None:
    """A file that upkeep removed meanwhile is never silence."""
    shop = Shop(DeltaSnapshotTable(DirectoryFiles(tmp_path / TOPIC), product=TOPIC, topic=TOPIC))
    shop.publish(50)
    shop.take()
    reading = shop.product().read(until="now")
    next(reading)
    for file in (tmp_path / TOPIC).glob("*.parquet"):
        file.unlink()
    with pytest.raises(ReadRefusedError, match="Begin again") as refused:
        all_of(reading)
    assert refused.value.code == "SNAPSHOT_GONE"


def test_what_ended_with_an_error_does_not_look_read_to_its_end(shop: Shop) -> None:
    """Who tries again is told to begin at the token, as after a close."""
    shop.broker.append(TOPIC, b"nonsense", key=b"x")
    reading = shop.product().read(until="now")
    with pytest.raises(FatalError):
        all_of(reading)
    for ended in (reading, shop.product().read(until="now")):
        ended.close()
    for each in (reading, ended):
        with pytest.raises(ReadRefusedError, match="closed, interrupted or ended") as refused:
            next(each)
        assert refused.value.code == "READING_ENDED"


def test_what_was_read_to_its_end_stays_so() -> None:
    """Asked again it ends again."""
    shop = Shop()
    shop.publish(5)
    reading = shop.product().read("beginning", "now")
    assert len(all_of(reading)) == 5
    assert all_of(reading) == []


def test_a_record_that_is_no_row_is_named_by_its_place(shop: Shop) -> None:
    """Never skipped, and never shown."""
    shop.broker.append(TOPIC, b"secret", key=b"k")
    with pytest.raises(FatalError, match=r"shop.orders\[\d\]@\d+ is no row") as refused:
        all_of(shop.product().read(until="now"))
    assert refused.value.code == "UNREADABLE_RECORD"
    assert "secret" not in str(refused.value)


def test_a_deletion_in_a_log_of_every_event_is_no_row(shop: Shop) -> None:
    """No product writes one there; refused by the sentence of the page, and nothing is skipped."""
    page = (REPOSITORY / "docs/reading.md").read_text()
    shop.broker.append(TOPIC, None, key=b"order-1")
    (place,) = [
        f"{each.partition}@{each.offset}"
        for each in shop.broker.visible(TOPIC)
        if each.value is None
    ]
    product = shop.product()
    for reading in (
        product.events(end="now"),
        product.read(until="now"),
        product.read("beginning", "now"),
    ):
        with pytest.raises(FatalError) as refused:
            all_of(reading)
        assert refused.value.code == "UNREADABLE_RECORD"
        found, _, why = str(refused.value).partition(" ")
        assert found == place
        assert f" {why}\n" in page
    with pytest.raises(FatalError, match="EMPTY_VALUE") as refused:
        shop.take()
    assert refused.value.code == "UNREADABLE_RECORD"
    shop.broker.clock.advance(60)
    behind = datetime.fromtimestamp(shop.broker.clock.wall_ms() / 1000, UTC)
    shop.publish(4)
    assert len(all_of(shop.product().events(behind, "now"))) == 4


def test_without_a_snapshot_there_is_still_the_log() -> None:
    """And the error says so."""
    shop = Shop()
    shop.publish(9)
    assert refusal(shop) == "NO_SNAPSHOT"
    assert_each_once(all_of(shop.product().read("beginning", "now")), shop.published())


def test_events_between_two_cuts_are_those_of_the_snapshots_between(shop: Shop) -> None:
    """A cut is a place of the log."""
    first, second = shop.product().cuts()
    between = all_of(shop.product().events(first, second))
    rows = shop.product().snapshot(second).lazy().collect()
    older = shop.product().snapshot(first).lazy().collect()
    assert sorted(between) == sorted(set(places(rows)) - set(places(older)))


def test_events_since_a_time_are_those_published_then(shop: Shop) -> None:
    """Publish time, with a zone."""
    shop.broker.clock.advance(60)
    since = datetime.fromtimestamp(shop.broker.clock.wall_ms() / 1000, UTC)
    shop.publish(4)
    assert len(all_of(shop.product().events(since, "now"))) == 4
    with pytest.raises(ReadRefusedError) as refused:
        shop.product().events(since.replace(tzinfo=None), "now")
    assert refused.value.code == "NO_ZONE"


@pytest.mark.parametrize("start", ["now", "latest", 3])
def test_what_is_no_place_of_a_log_is_told(shop: Shop, start: Any) -> None:
    """With those that there are."""
    until: Any = "end"
    for misuse, arguments in (
        (shop.product().events, (start,)),
        (shop.product().events, ("beginning", until)),
        (shop.product().read, ("snapshot", until)),
    ):
        with pytest.raises(ReadRefusedError, match="is no place of a log") as refused:
            misuse(*arguments)
        assert refused.value.code == "BAD_PLACE"


def test_a_time_between_two_milliseconds_is_behind_the_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one before 1970 no number that means something else to a broker."""
    asked: list[int] = []

    def at_time(_log: reader_log.EventLog, timestamp_ms: int) -> dict[int, int]:
        asked.append(timestamp_ms)
        return {0: 0, 1: 0, 2: 0}

    monkeypatch.setattr(reader_log.EventLog, "at_time", at_time)
    for at in (EPOCH, EPOCH + timedelta(microseconds=1_001), EPOCH - timedelta(milliseconds=1)):
        shop.product().events(at, "now")
    assert asked == [0, 2, 0]


def test_a_column_newer_than_the_snapshot_has_its_default(shop: Shop) -> None:
    """As the log gives it for older records."""
    tags = {"type": {"type": "array", "items": "string"}, "default": ["new"], "doc": "Words."}
    newer = shop.product(contract([*FIELDS, NOTE, {"name": "tags", **tags}]))
    frames = pl.concat(list(newer.read(until="now")))
    assert frames.height == 87
    assert frames["note"].null_count() == 87
    assert frames["tags"].to_list() == [["new"]] * 87


def test_a_column_that_nobody_can_fill_in_is_told(shop: Shop) -> None:
    """A contract that lost compatibility reads neither snapshot nor log."""
    price = {"name": "price", "type": "double", "doc": "Without a default."}
    newer = shop.product(contract([*FIELDS, price]))
    with pytest.raises(ReadRefusedError, match="price: the writer has no such field") as refused:
        next(newer.read(until="now"))
    assert refused.value.code == "SNAPSHOT_COLUMNS"
