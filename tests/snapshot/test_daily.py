"""Tables of mode daily: taken when a day of event time is over, which they tell."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.snapshot.test_divided import Sale, Sales, assert_whole, contract

from headwater.adapters.memory import (
    MemoryBroker,
    MemoryRangeReader,
    MemoryTopics,
    MemoryTransactionalLog,
)
from headwater.adapters.memory.storage import Content
from headwater.assembly.input_days import InputDays
from headwater.assembly.project import LoadedProduct
from headwater.assembly.snapshot_modes import mode_mistakes
from headwater.clock import ManualClock
from headwater.engine import Standing, Watermarks
from headwater.errors import StartRefusedError
from headwater.model import Partition
from headwater.ports import CommitRecord, DaysClosed, TopicSettings
from headwater.product import DataProduct, Snapshot
from headwater.snapshot.days import ClosedDays, Mark, closed_days, closing
from headwater.snapshot.record import from_text, to_text
from headwater.snapshot.writer import Snapshotter, Taken

HOUR = 3_600_000
DAY = 24 * HOUR
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = date(2026, 1, 1)


def mark(hours: float, *, is_idle: bool = False) -> Mark:
    """A watermark so many hours into January."""
    return Mark(int(JANUARY.timestamp() * 1_000 + hours * HOUR), is_idle)


@pytest.mark.parametrize(
    ("marks", "lateness", "before"),
    [
        ([mark(24)], 0, "2026-01-02"),
        ([mark(23.999)], 0, "2026-01-01"),
        ([mark(25.999)], 2 * HOUR, "2026-01-01"),
        ([mark(26)], 2 * HOUR, "2026-01-02"),
        ([mark(100), mark(30)], 0, "2026-01-02"),
        ([mark(100), Mark(None)], 0, None),
        ([], 0, None),
        ([Mark(-1)], 0, "1969-12-31"),
        ([Mark(-(10**17))], 0, None),
        ([Mark(253_402_300_799_999)], 0, "9999-12-31"),
    ],
)
def test_a_day_is_over_when_every_partition_passed_its_end(
    marks: list[Mark], lateness: int, before: str | None
) -> None:
    """By the least watermark, less the lateness; one without a watermark holds all back."""
    found = closing(marks, lateness)
    assert (found and found.before) == before


def test_a_day_that_an_idle_partition_let_go_is_assumed() -> None:
    """Nobody knows what it may still bring."""
    found = closing([mark(24), mark(24, is_idle=True)], 0)
    assert found == DaysClosed("2026-01-02", is_assumed=True)


@dataclass
class Daily(Sales):
    """Sales of mode daily, whose inputs stand where a test says."""

    marks: list[Mark] = field(default_factory=list)

    def take(self) -> Taken:
        """Take a snapshot, as a process of its own would."""
        return self.snapshotter().take()

    def snapshotter(self) -> Snapshotter:
        """One that could be a process of its own."""
        return Snapshotter(
            product="shop.sales",
            topic="shop.sales",
            topics=MemoryTopics(self.broker),
            reader=MemoryRangeReader(self.broker),
            table=self.table(),
            codec=self.codec().divided("_date"),
            closing=lambda: closing(self.marks, 0),
            clock=ManualClock(at_s=100),
        )

    def days(self) -> ClosedDays:
        """What the table tells of its days."""
        return closed_days(record for _, record in self.table().commits())


def sale(hours: float, name: str = "a") -> Sale:
    """A sale so many hours into January."""
    return (name, JANUARY + timedelta(hours=hours), "x")


def test_nothing_is_taken_before_a_day_is_over() -> None:
    """However much was published; then all of it, and the day is closed."""
    daily = Daily("_date", marks=[mark(0)])
    daily.publish(sale(1), sale(5))
    daily.marks = []
    assert daily.take().version is None
    daily.marks = [mark(25), mark(30)]
    daily.publish(sale(25))
    taken = daily.take()
    assert (taken.rows, taken.days) == (3, DaysClosed("2026-01-02"))
    assert daily.days().state(FIRST) == "complete"
    assert daily.days().state(date(2026, 1, 2)) == "open"
    assert_whole(daily)
    daily.publish(sale(26))
    assert daily.take().version is None
    assert daily.verify().outcome == "equal"


def test_rows_of_a_closed_day_are_a_correction_that_is_listed() -> None:
    """They come with the next day that is over; the day stays closed."""
    daily = Daily("_date", marks=[mark(24)])
    daily.publish(sale(1))
    daily.take()
    daily.publish(sale(2), sale(3), sale(30))
    daily.marks = [mark(48, is_idle=True)]
    taken = daily.take()
    assert taken.days == DaysClosed("2026-01-03", is_assumed=True, corrected={"2026-01-01": 2})
    days = daily.days()
    assert days.before == date(2026, 1, 3)
    assert days.corrections == {FIRST: 2}
    assert [days.state(FIRST + timedelta(days=n)) for n in range(3)] == [
        "complete",
        "assumed",
        "open",
    ]
    assert_whole(daily)


def test_a_day_without_rows_is_closed_too() -> None:
    """Whether anything new was published or not: it is a fact by itself."""
    daily = Daily("_date", marks=[mark(24)])
    assert daily.take().version is None  # there is no table yet
    daily.publish(sale(1))
    daily.take()
    daily.marks = [mark(24 * 5)]
    taken = daily.take()
    assert (taken.commits, taken.rows) == (1, 0)
    assert daily.days().state(date(2026, 1, 4)) == "complete"
    daily.marks = [mark(24 * 6)]
    assert daily.take().commits == 1
    ids = [
        record.commit_id
        for _, record in daily.table().commits()
        if isinstance(record, CommitRecord)
    ]
    assert len(set(ids)) == 3
    assert daily.verify().outcome == "equal"


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("sale"), st.integers(0, 3), st.integers(0, 24 * 6)),
        st.tuples(st.just("idle"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("take"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=EVENTS)
def test_a_closed_day_gets_only_rows_that_are_listed(events: list[tuple[str, int, int]]) -> None:
    """Out of order, over idle partitions, in commits of a few rows: a reader can rely on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwater.snapshot.writer.READ_RECORDS", 2)
        patch.setattr("headwater.snapshot.writer.COMMIT_ROWS", 3)
        daily, marks = Daily("_date"), Watermarks(1.0)
        marks.assigned(dict.fromkeys(range(3), ""))
        seen: Counter[date] = Counter()
        for what, partition, hours in [*events, ("take", 0, 0)]:
            match what:
                case "sale":
                    observed = mark(hours).watermark
                    before = marks.standing(partition % 3).watermark
                    known = [each for each in (before, observed) if each is not None]
                    marks.move({partition % 3: Standing(max(known))})
                    daily.publish(sale(hours, f"s{len(daily.published)}"))
                case "idle":
                    marks.move(marks.idle(frozenset({partition % 3})))
                case _:
                    closed = daily.days()
                    standings = [marks.standing(each) for each in range(3)]
                    daily.marks = [Mark(each.watermark, each.is_idle) for each in standings]
                    daily.take()
                    now: Counter[date] = Counter(row["_date"] for row in daily.rows())
                    late = {day: now[day] - seen[day] for day in now if closed.state(day) != "open"}
                    told = Counter(daily.days().corrections)
                    told.subtract(closed.corrections)
                    assert +told == +Counter(late)
                    for day in now:  # what is closed stays closed, as it was
                        if closed.state(day) != "open":
                            assert daily.days().state(day) == closed.state(day)
                    seen = now
                    assert daily.verify().outcome == "equal" or not daily.table().commits()


def test_records_of_days_are_read_again_and_old_ones_read_on() -> None:
    """As text in a table's log."""
    daily = Daily("_date", marks=[mark(24)])
    daily.publish(sale(1))
    daily.take()
    _, record = daily.table().commits()[-1]
    assert isinstance(record, CommitRecord)
    told = replace(record, days=DaysClosed("2026-01-02", True, {"2026-01-01": 3}))
    assert from_text(to_text(told)) == told
    old = to_text(replace(record, days=None)).replace(',"days":null', "")
    assert from_text(old) == replace(record, days=None)


def test_a_table_of_another_mode_stays_what_it_is() -> None:
    """Its rows would not have been taken by days."""
    sales = Sales("_date")
    sales.publish(sale(1))
    sales.take()
    daily = Daily("_date", storage=sales.storage, marks=[mark(24)])
    daily.broker = sales.broker
    with pytest.raises(StartRefusedError) as refused:
        daily.take()
    assert refused.value.code == "SNAPSHOT_MODE"


# -- what the inputs tell --------------------------------------------------------------------------


@dataclass
class Inputs:
    """A product's group on an input of four partitions, and its log."""

    broker: MemoryBroker = field(default_factory=MemoryBroker)
    clock: ManualClock = field(default_factory=ManualClock)
    waits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker.create(TopicSettings("shop.carts", 4, "log"))
        self.broker.create(TopicSettings("shop.sales", 1, "log"))

    def stand(self, notes: dict[int, Standing], unread: tuple[int, ...] = ()) -> None:
        """Partitions that held records, and the notes beside the group's positions on them."""
        for index in (*notes, *unread):
            log = self.broker.partition(Partition("shop.carts", index))
            log.append(Content(b"x", b"x"), 0, None)
        offsets = self.broker.group("shop.sales").offsets
        for index, standing in notes.items():
            note = json.dumps(Watermarks().noted(standing))
            offsets[Partition("shop.carts", index)] = (1, note)

    def closing(self, lateness: str | None = None) -> DaysClosed | None:
        """What is over."""
        product = DataProduct(
            "shop.sales", owner="a@b.c", snapshot=Snapshot("1h", "daily", lateness=lateness)
        )
        product.stream("shop.carts", contract=1)
        loaded = cast("LoadedProduct", SimpleNamespace(product=product, repartitions={}))
        topics = MemoryTopics(self.broker)
        return InputDays(loaded, topics, self.clock).closing("shop.sales", self.wait)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.waits.append(seconds)
        self.clock.advance(seconds)


def test_a_partition_that_never_held_a_record_holds_no_day_back() -> None:
    """Three keys on four partitions: nothing is late of the fourth, so nothing is assumed."""
    inputs = Inputs()
    inputs.stand({n: Standing(mark(50 + n).watermark) for n in range(3)})
    assert inputs.closing() == DaysClosed("2026-01-03")
    assert inputs.closing("3h") == DaysClosed("2026-01-02")


def test_a_partition_with_records_that_nobody_read_holds_every_day_back() -> None:
    """Whatever they are of."""
    inputs = Inputs()
    inputs.stand({n: Standing(mark(50).watermark) for n in range(3)}, unread=(3,))
    assert inputs.closing() is None


def test_an_idle_partition_makes_days_assumed() -> None:
    """By its note, whatever process wrote it."""
    inputs = Inputs()
    inputs.stand({0: Standing(mark(50).watermark), 1: Standing(mark(50).watermark, is_idle=True)})
    assert inputs.closing() == DaysClosed("2026-01-03", is_assumed=True)


def test_what_is_committed_but_not_visible_yet_is_waited_for() -> None:
    """The position is seen before the rows are: a cut at once would lack them."""
    inputs = Inputs()
    inputs.stand({0: Standing(mark(50).watermark)})
    producer = open_transaction(inputs.broker)
    assert inputs.closing() is None
    assert sum(inputs.waits) > 10
    wait = inputs.wait

    def committing(seconds: float) -> None:
        producer.commit()
        wait(seconds)

    inputs.wait = committing  # type: ignore[method-assign]  # the moment it becomes visible
    assert inputs.closing() == DaysClosed("2026-01-03")


def open_transaction(broker: MemoryBroker) -> Any:
    """A row of the output that is not committed."""
    producer = MemoryTransactionalLog(broker, transactional_id="one")
    producer.initialise()
    producer.begin()
    producer.produce("shop.sales", [b"x"], [b"x"])
    return producer


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (Snapshot("1h", "daily", by="shop"), "'daily' is divided by '_date'"),
        (Snapshot("1h", "append", lateness="1h"), "goes with mode='daily' only"),
        (Snapshot("1h", "daily", lateness="soon"), "is no duration"),
    ],
)
def test_a_policy_that_makes_no_sense_is_told(policy: Snapshot, why: str) -> None:
    """When it is declared."""
    product = DataProduct("shop.sales", owner="a@b.c", snapshot=policy)
    assert why in product.problems[0].message


def test_a_product_without_event_time_has_no_days() -> None:
    """Neither where the rows have none, nor where an input never tells how far it came."""
    product = DataProduct("shop.sales", owner="a@b.c", snapshot=Snapshot("1h", "daily"))
    product.publish(product.stream("shop.carts", contract=1), contract=1)
    without, timed = contract("id", "at"), contract("id", "at", eventTime="at")

    def codes(output: Any, given: Any) -> list[str]:
        found = mode_mistakes(product, {"shop.sales": output}, {"shop.carts": given})
        return [problem.code for problem in found]

    assert codes(timed, timed) == []
    assert codes(without, timed) == ["SNAPSHOT_DIVISION"]
    assert codes(timed, without) == ["SNAPSHOT_WITHOUT_DAYS"]
