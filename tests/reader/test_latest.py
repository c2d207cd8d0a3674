"""Tables of the latest rows, then the log of their changes: folded by key, the state of now."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
import pytest
from tests.reader.book import RETENTION_S, Book, State, folded
from tests.snapshot.lake import SCHEMA_ID, SCHEMAS, TOPIC

from headwater.contract import Encoder
from headwater.errors import FatalError, ReadRefusedError
from headwater.reader import log as reader_log
from headwater.reader.reading import Reading
from headwater.reader.sql import Query

HISTORIES = 20
STEPS = 40
COLUMNS = ["id", "amount", "_partition", "_offset", "_timestamp", "_deleted"]


@pytest.fixture(params=["memory", "delta"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Book:
    """A snapshot of 20 orders, and changes behind it."""
    book = Book(tmp_path / "orders" if request.param == "delta" else None)
    book.publish({f"order-{n}": float(n) for n in range(20)})
    book.take()
    book.publish({"order-3": 33.0, "order-20": 20.0})
    book.delete(["order-4", "order-20", "order-77"])
    book.publish({"order-4": 44.0})
    book.delete(["order-5"])
    return book


def refusal(reading: Reading | None = None, *, book: Book | None = None, from_: str = "") -> str:
    """The code with which reading on is refused."""
    with pytest.raises(ReadRefusedError) as refused:
        list(islice(reading or (book or Book()).product().read(from_, "now"), 2))
    return refused.value.code


class Reader:
    """A consumer that keeps a state and its place, and begins again when it must."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.refused = 0
        self.begin()

    def begin(self) -> None:
        """From the newest snapshot, or a newer one if need be; nothing is kept."""
        self.state: State = {}
        try:
            self.reading = self.book.product().read()
        except ReadRefusedError:
            self.refused += 1
            self.book.take()
            self.reading = self.book.product().read()

    def step(self) -> None:
        """The next frame of the reading at hand; there is one to come where it never ends."""
        self.book.publish({"order-0": 0.5})
        self._fold(islice(self.reading, 1))

    def resume(self) -> None:
        """Go on as another process would, for ever."""
        self._fold([], self.reading.token)

    def catch_up(self) -> None:
        """Go on to the end of now: there the state is that of everything published."""
        if self._fold((), self.reading.token, "now"):
            assert self.state == self.book.state()

    def _fold(
        self,
        frames: Iterable[pl.DataFrame],
        token: str | None = None,
        until: Literal["now"] | None = None,
    ) -> bool:
        try:
            if token is not None:
                self.reading = self.book.product().read(token, until)
            folded(self.reading if until else frames, self.state)
        except ReadRefusedError:
            self.refused += 1
            self.begin()
            return False
        return True


@pytest.mark.parametrize("is_hasty", [True, False])
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_whatever_was_read_up_to_the_end_is_the_state_of_now(
    seed: int, monkeypatch: pytest.MonkeyPatch, *, is_hasty: bool
) -> None:
    """Changes, deletions, snapshots, upkeep, a cleaner that drops; readers that stop and resume.

    Nothing is refused within half of the time that deletions are kept.
    """
    chance = random.Random(seed)
    monkeypatch.setattr(reader_log, "READ_RECORDS", chance.choice([1, 3, 20]))
    book = Book()
    book.publish({f"order-{n}": 1.0 for n in range(12)})
    book.take()
    reader = Reader(book)
    lapses_s = [1.0] if is_hasty else [1.0, RETENTION_S / 3, RETENTION_S]

    def some() -> list[str]:
        return [f"order-{chance.randrange(12)}" for _ in range(4)]

    acts: list[Callable[[], object]] = [
        *[lambda: book.publish(dict.fromkeys(some(), chance.random()))] * 2,
        *[lambda: book.delete(some())] * 2,
        *[book.clean] * 2,
        *[book.take, reader.resume, reader.step, reader.catch_up],
        lambda: book.clock.advance(chance.choice(lapses_s)),
        lambda: book.table().tidy(book.clock.wall_ms(), int(RETENTION_S * 1_000)),
    ]
    for _ in range(STEPS):
        chance.choice(acts)()
    reader.catch_up()
    reader.catch_up()  # the first may have begun again
    assert reader.state == book.state()
    assert not (is_hasty and reader.refused)


def test_rows_of_snapshot_and_log_have_the_same_columns(book: Book) -> None:
    """Also those that say that a key is gone: its key is there, the rest is null."""
    reading = book.product().read(until="now")
    assert reading.columns == COLUMNS
    frames = list(reading)
    assert {tuple(frame.schema.items()) for frame in frames} == {tuple(frames[0].schema.items())}
    rows = pl.concat(frames)
    assert rows.columns == COLUMNS
    assert rows.head(20)["_deleted"].sum() == 0
    gone = rows.filter("_deleted")
    assert sorted(gone["id"]) == ["order-20", "order-4", "order-5", "order-77"]
    assert gone["amount"].null_count() == 4
    assert folded(frames) == book.state()
    for index in range(2):
        offsets = rows.tail(8).filter(pl.col("_partition") == index)["_offset"].to_list()
        assert offsets == sorted(offsets)


def test_events_are_those_that_a_compacted_log_still_holds(book: Book) -> None:
    """With their offsets; what was dropped between them is no error, however late it is."""
    book.clean()
    frames = list(book.product().events(end="now"))
    held = [(each.partition.index, each.offset) for each in book.broker.visible(TOPIC)]
    found = pl.concat(frames)
    assert found.columns == COLUMNS
    assert found.select("_partition", "_offset").rows() == held
    reading = book.product().events()
    next(reading)
    book.clock.advance(10 * RETENTION_S)
    book.clean()
    book.publish({"order-1": 2.0})
    assert next(reading).height
    (cut,) = book.product().cuts()
    assert "order-1" in pl.concat(list(book.product().events(cut, "now")))["id"]
    assert sum(each.height for each in book.product().read(reading.token, "now")) < 2


def test_a_snapshot_of_the_latest_is_read_as_any_other(book: Book) -> None:
    """At a cut, at a time, the newest; by Polars, pyarrow, pandas and DuckDB."""
    book.clock.advance(60)
    book.take()
    first, second = book.product().cuts()
    assert (first.mode, second.mode) == ("latest", "latest")
    between = datetime.fromtimestamp(second.time.timestamp() - 30, UTC)
    assert book.product().snapshot(between).rows == 20
    assert book.product().snapshot(first).lazy().collect().height == 20
    snapshot = book.product().snapshot()
    ids = sorted(order for _, order in book.state())
    assert sorted(snapshot.lazy().collect()["id"]) == ids
    assert snapshot.lazy().collect_schema().names() == COLUMNS[:-1]
    if book.directory is not None:  # a table in memory has no dataset of files
        assert sorted(snapshot.dataset().to_table()["id"].to_pylist()) == ids
        assert sorted(snapshot.pandas()["id"]) == ids
        assert sorted(snapshot.duckdb().project("id").fetchall()) == [(each,) for each in ids]


# -- when it cannot go on --------------------------------------------------------------------------


def test_deletions_that_may_be_gone_are_no_silent_gap(book: Book) -> None:
    """A token of before is too late once half of their time has passed; a newer snapshot is not."""
    token = book.product().read(until="now").token
    book.clock.advance(RETENTION_S / 2)
    book.clean()
    assert refusal(book=book, from_=token) == "CUT_LOST"
    assert refusal(book=book, from_="snapshot") == "CUT_LOST"
    book.take()
    assert folded(book.product().read(until="now")) == book.state()


def test_a_cut_of_the_future_is_as_old_as_its_clock_was_wrong(book: Book) -> None:
    """Its writer's clock ran ahead: nobody knows what was dropped before that time comes."""
    book.delete(["order-9"])
    book.clock.advance(2 * RETENTION_S)
    book.take()
    book.clock.advance(-2 * RETENTION_S)
    book.delete(["order-8"])
    assert refusal(book=book, from_="snapshot") == "CUT_LOST"


def test_a_reader_that_is_overtaken_by_the_cleaner_is_told(book: Book) -> None:
    """Among the rows of the snapshot, and in the log."""
    slow, slower = book.product().read(), book.product().read(until="now")
    next(slow), next(slower)
    book.clock.advance(RETENTION_S)
    book.clean()
    assert refusal(slow) == "CUT_LOST"
    assert refusal(slower) == "CUT_LOST"


def test_a_reader_in_the_log_that_sleeps_for_too_long_is_told(book: Book) -> None:
    """What it had not read by then may have been dropped with its tombstones."""
    reading = book.product().read()
    folded([next(reading), next(reading), next(reading)])
    book.delete(["order-9"])
    book.clock.advance(RETENTION_S)
    book.clean()
    book.publish({"order-1": 7.0})
    assert refusal(reading) == "CUT_LOST"


def test_where_nothing_was_published_since_nothing_can_be_gone(book: Book) -> None:
    """However old snapshot and token are: products may rest for weeks."""
    book.take()
    token = book.product().read("end").token
    state = folded(book.product().read(until="now"))
    book.clock.advance(30 * RETENTION_S)
    assert folded(book.product().read(until="now")) == state == book.state()
    reading = book.product().read(token, "now")
    book.publish({"order-1": 7.0})
    assert list(reading) == []  # it ends where the log did when it was asked for
    frames = list(book.product().read(reading.token, "now"))
    assert folded(frames, state) == book.state()


def test_a_token_is_as_young_as_the_end_it_was_told_at(book: Book) -> None:
    """Who reads up to now each day goes on for ever; the age of the first snapshot counts once."""
    reading = book.product().read(until="now")
    state = folded(reading)
    for _ in range(5):
        book.publish({"order-1": 7.0})
        book.delete(["order-2"])
        book.clean()
        book.clock.advance(RETENTION_S / 3)
        reading = book.product().read(reading.token, "now")
        folded(reading, state)
        assert state == book.state()


def test_a_follower_stays_young_while_it_waits(book: Book) -> None:
    """It asks now and then where the log ends; its tokens are good for as long as one of now."""
    reading = book.product().read()
    state = folded([next(reading), next(reading), next(reading)])
    for _ in range(4):
        book.clock.advance(RETENTION_S / 4)  # less than it may sleep
        book.delete(["order-9"])
        book.clean()
        folded([next(reading)], state)
    folded(book.product().read(reading.token, "now"), state)
    assert state == book.state()


def test_a_log_without_compaction_keeps_deletions_for_ever(tmp_path: Path) -> None:
    """A table of the latest over a plain log: the same frames, and no age."""
    book = Book(tmp_path / "orders", policy="delete")
    book.publish({"order-1": 1.0, "order-2": 2.0})
    book.take()
    book.delete(["order-1"])
    book.clock.advance(30 * RETENTION_S)
    reading = book.product().read(until="now")
    assert folded(reading) == book.state()
    book.delete(["order-2"])
    book.clock.advance(30 * RETENTION_S)
    assert folded(book.product().read(reading.token, "now"), book.state()) == {}


def test_a_topic_that_is_compacted_since_ends_a_reading_of_every_event(book: Book) -> None:
    """And what a token of it leads on to is another kind of log."""
    plain = Book(policy="delete")
    plain.publish({"order-1": 1.0})
    token = plain.product().read("beginning", "now").token
    following = plain.product().read("end")
    plain.broker.topics[TOPIC].settings.config["cleanup.policy"] = "compact"  # type: ignore[index]  # a dict
    assert refusal(book=plain, from_=token) == "COMPACTED_TOPIC"
    assert refusal(following) == "COMPACTED_TOPIC"


def test_a_compacted_topic_without_a_key_in_its_contract_is_refused(book: Book) -> None:
    """Nobody could tell what a deletion deletes."""
    with pytest.raises(ReadRefusedError, match="names no key") as refused:
        book.product(replace(SCHEMAS[SCHEMA_ID], key=())).events()
    assert refused.value.code == "COMPACTED_TOPIC"


@pytest.mark.parametrize("key", [None, b"\xff", b"order-2"])
@pytest.mark.parametrize("is_deletion", [True, False])
def test_a_record_under_another_key_is_no_row(key: bytes | None, *, is_deletion: bool) -> None:
    """Folding by columns would be another state than folding by key."""
    book = Book()
    rows = pl.DataFrame({"id": ["order-1"], "amount": [1.0]})
    encoded = Encoder(SCHEMAS[SCHEMA_ID], SCHEMA_ID).encode(rows.with_row_index("_row"))
    book.publish({"order-7": 7.0})
    book.broker.append(TOPIC, None if is_deletion else encoded.values[0], key=key)
    if is_deletion and key == b"order-2":
        assert pl.concat(list(book.product().events(end="now")))["_deleted"].sum() == 1
        return
    with pytest.raises(FatalError, match="BAD_KEY") as refused:
        list(book.product().events(end="now"))
    assert refused.value.code == "UNREADABLE_RECORD"
    assert "order" not in str(refused.value).replace(TOPIC, "")


# -- in SQL ----------------------------------------------------------------------------------------


def answer(book: Book, *, is_live: bool) -> list[tuple[str, float]]:
    """Orders and amounts of the table."""
    text = "SELECT id, amount FROM 'shop.orders' ORDER BY id"
    batches = Query(text, lambda _name: book.product(), is_live=is_live).rows()
    return [(row["id"], row["amount"]) for row in pa.Table.from_batches(batches).to_pylist()]


def test_live_is_the_state_of_now(book: Book) -> None:
    """One row of each key: of the snapshot where nothing replaced it, else its newest."""
    assert len(answer(book, is_live=False)) == 20
    expected = sorted((order, amount) for (_, order), (_, amount) in book.state().items())
    assert answer(book, is_live=True) == expected
    book.take()
    assert answer(book, is_live=False) == answer(book, is_live=True) == expected
