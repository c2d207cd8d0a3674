"""The role of snapshots: turns, trouble that passes and that does not, metrics."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.snapshot.lake import FIELDS, contract

from headwater.assembly.snapshot_schedule import Schedule, Told
from headwater.clock import ManualClock
from headwater.contract import Contract
from headwater.errors import (
    DamagedError,
    HeadwaterError,
    OvertakenError,
    StartRefusedError,
    UnavailableError,
    UnverifiableError,
)
from headwater.ports import CommitRecord, DaysClosed, Swept
from headwater.snapshot.days import ClosedDays, closed_days
from headwater.snapshot.upkeep import Upkept
from headwater.snapshot.verdict import Difference, Verdict
from headwater.snapshot.writer import Progress, Taken

CONTRACT = contract(FIELDS)
EQUAL = Verdict(0, "id", 1, 10, 0, 0, (), 0, ())
DIFFERENT = Verdict(0, "id", 1, 10, 0, 0, (Difference("missing", 0, 7),), 1, ())


RECORD = CommitRecord("id", "shop.orders", "shop.orders", "topic-id", 1, (), 0, mode="daily")


class Shelf:
    """Snapshots of two outputs, of which each may be in trouble."""

    product = "shop.orders"

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.contracts: Mapping[str, Contract] = {"shop.orders": CONTRACT, "shop.returns": CONTRACT}
        self.taken: list[str] = []
        self.announced: list[str] = []
        self.kept_up: list[str] = []
        self.steps: list[str] = []
        self.upkept: Upkept | None = None
        self.while_keeping_up: Callable[[Callable[[], object]], object] = lambda beat: beat()
        self.verified: list[str] = []
        self.troubles: dict[str, HeadwaterError] = {}
        self.while_taking: Callable[[], None] = lambda: None
        self.verdict = EQUAL
        self.news: DaysClosed | None = None
        self.days_asked = 0

    def take(self, topic: str, progress: Progress) -> Taken:
        self._fail("take", topic)
        self.while_taking()
        progress(1, 2)
        self.clock.advance(2)
        self.taken.append(topic)
        is_first = self.taken.count(topic) == 1
        return Taken("/here", 1 if is_first else None, 1, 10, 10, {0: 10}, days=self.news)

    def announce(self, topic: str) -> int:
        self._fail("announce", topic)
        self.announced.append(topic)
        return 1

    def keep_up(self, topic: str, beat: Callable[[], object]) -> Upkept | None:
        self._fail("keep up", topic)
        self.while_keeping_up(beat)
        self.kept_up.append(topic)
        return self.upkept

    def storage(self, topic: str) -> tuple[int, int]:
        if error := self.troubles.get(f"storage {topic}"):
            raise error
        is_merged = self.upkept is not None and topic in self.kept_up
        return 1 if is_merged else 3, 4_096

    def days(self, topic: str) -> ClosedDays:
        self.days_asked += 1
        days = [
            DaysClosed("2026-01-02"),
            DaysClosed("2026-01-04"),
            DaysClosed("2026-01-05", is_assumed=True),
        ]
        return closed_days(replace(RECORD, days=each) for each in days)

    def open_letters(self, progress: Progress) -> int:
        self._fail("count", "")
        return 5

    def verify(self, topic: str, progress: Progress, *, full: bool) -> Verdict:
        self._fail("verify", topic)
        self.verified.append(topic)
        return self.verdict

    def _fail(self, doing: str, topic: str) -> None:
        self.steps.append(f"{doing} {topic}".strip())
        if error := self.troubles.get(f"{doing} {topic}".strip()):
            raise error


class Role:
    """A schedule, and what was told of it."""

    def __init__(self, verify_every_s: float | None = None) -> None:
        self.clock = ManualClock(at_s=1_000)
        self.shelf = Shelf(self.clock)
        self.taken: list[str] = []
        self.upkept: list[str] = []
        self.troubles: list[str] = []
        self.schedule = Schedule(
            self.shelf,
            900,
            Told(
                lambda topic, _: self.taken.append(topic),
                lambda topic, _: self.upkept.append(topic),
                lambda error: self.troubles.append(error.code),
            ),
            verify_every_s=verify_every_s,
            clock=self.clock,
        )

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample of the role's metrics."""
        registry = self.schedule.metrics.registry
        return registry.get_sample_value(f"headwater_{name}", {"product": "shop.orders", **labels})


def test_the_ends_of_the_last_days_that_are_closed_are_told_by_their_state() -> None:
    """At the first turn and when more are; of other modes there is none, and nobody asks."""
    role = Role()
    role.schedule.turn()
    assert role.shelf.days_asked == 0
    for news, asked in ((DaysClosed(), 2), (DaysClosed(), 2), (DaysClosed("2026-01-05"), 4)):
        role.shelf.news = news
        role.schedule.turn()
        assert role.shelf.days_asked == asked
    for state, day in (("complete", 4), ("assumed", 5)):
        found = role.metric(
            "snapshot_days_closed_timestamp_seconds", topic="shop.orders", state=state
        )
        assert found == datetime(2026, 1, day, tzinfo=UTC).timestamp()


def test_a_turn_takes_and_announces_every_output_and_tells_the_metrics() -> None:
    """Rows, files, bytes and duration by topic, and the dead letters from before the cut."""
    role = Role()
    role.schedule.turn()
    assert role.taken == role.shelf.announced == ["shop.orders", "shop.returns"]
    assert role.troubles == []
    for name, expected in {
        "rows": 10,
        "files": 3,
        "bytes": 4_096,
        "duration_seconds": 2,
        "cut_age_seconds": 4,
    }.items():
        assert role.metric(f"snapshot_{name}", topic="shop.orders") == expected
    assert role.metric("snapshot_open_letters") == 5
    assert role.metric("waiting") == 0


def test_upkeep_follows_the_notices_of_all_outputs_and_is_told_as_metrics() -> None:
    """Only of turns in which it was due; where another process was at it, nothing was removed."""
    role = Role()
    role.schedule.turn()
    assert role.shelf.steps == [
        "count",
        *("take shop.orders", "announce shop.orders", "take shop.returns", "announce shop.returns"),
        *("keep up shop.orders", "keep up shop.returns"),
    ]
    assert role.metric("snapshot_merged_files_total", topic="shop.orders") is None
    assert role.metric("snapshot_files", topic="shop.orders") == 3
    for swept in (Swept(3, 4_096), None):
        role.shelf.upkept = Upkept(8, 1, swept)
        role.schedule.turn()
    assert role.upkept == ["shop.orders", "shop.returns"] * 2
    assert role.metric("snapshot_merged_files_total", topic="shop.orders") == 16
    assert role.metric("snapshot_removed_bytes_total", topic="shop.orders") == 4_096


def test_files_are_counted_anew_behind_an_upkeep() -> None:
    """As readers find them then; everything else is of the cut."""
    role = Role()
    role.shelf.upkept = Upkept(3, 1, Swept())
    role.schedule.turn()
    assert role.metric("snapshot_files", topic="shop.orders") == 1
    assert role.metric("snapshot_rows", topic="shop.orders") == 10
    assert role.metric("snapshot_duration_seconds", topic="shop.orders") == 2


@pytest.mark.parametrize(
    "error",
    [
        DamagedError("a byte"),
        StartRefusedError("a feature", code="TABLE_FEATURE"),
        UnavailableError("away"),
        OvertakenError("another"),
    ],
)
def test_an_upkeep_that_fails_holds_up_neither_cuts_nor_notices(error: HeadwaterError) -> None:
    """For good or not: it is told with its code, counted, and tried again at the next turn."""
    role = Role()
    role.shelf.troubles["keep up shop.orders"] = error
    for _ in range(2):
        role.schedule.turn()
    both = ["shop.orders", "shop.returns"] * 2
    assert role.taken == role.shelf.announced == both
    assert role.shelf.kept_up == ["shop.returns"] * 2
    assert role.troubles == [error.code] * 2
    labels = {"topic": "shop.orders", "code": error.code}
    assert role.metric("snapshot_upkeep_failures_total", **labels) == 2
    assert role.metric("waiting") == 0
    role.shelf.troubles.clear()
    role.schedule.turn()
    assert role.shelf.kept_up[-2:] == ["shop.orders", "shop.returns"]


def test_no_upkeep_of_a_table_that_was_not_reached() -> None:
    """Storage that is away is told once a turn."""
    role = Role()
    role.shelf.troubles["take shop.orders"] = UnavailableError("away")
    role.schedule.turn()
    assert role.shelf.kept_up == ["shop.returns"]
    assert role.troubles == ["UNAVAILABLE"]


@pytest.mark.parametrize(
    "error",
    [
        OvertakenError("another"),
        UnavailableError("away"),
        StartRefusedError("it has not run yet", code="TOPIC_MISSING"),
    ],
)
def test_trouble_with_one_output_passes_and_holds_no_other_up(error: HeadwaterError) -> None:
    """It is told, the metric says so until the next turn, and that begins anew."""
    role = Role()
    role.shelf.troubles["take shop.orders"] = error
    role.schedule.turn()
    assert role.taken == ["shop.returns"]
    assert role.troubles == [error.code]
    assert role.metric("waiting") == 1
    assert role.schedule.pause_s == 60
    role.shelf.troubles.clear()
    role.schedule.turn()
    assert role.taken == ["shop.returns", "shop.orders", "shop.returns"]
    assert role.metric("waiting") == 0
    assert role.schedule.pause_s == 900


def test_files_that_cannot_be_counted_end_no_role() -> None:
    """Another writer may use a feature of the table that makes them not its rows."""
    role = Role()
    role.shelf.troubles["storage shop.orders"] = UnverifiableError("deletion vectors")
    role.schedule.turn()
    assert (role.taken, role.troubles) == (["shop.returns"], ["UNVERIFIABLE"])
    role.shelf.troubles.clear()
    role.schedule.turn()
    assert role.taken == ["shop.returns", "shop.orders", "shop.returns"]


def test_a_notice_that_is_refused_undoes_no_snapshot() -> None:
    """Whatever refuses it, forever or not: the commit stands, and the next turn announces it."""
    role = Role()
    refused = StartRefusedError("no such topic", code="NOTICES_TOPIC")
    role.shelf.troubles["announce shop.orders"] = refused
    role.schedule.turn()
    assert (role.taken, role.troubles) == (["shop.orders", "shop.returns"], ["NOTICES_TOPIC"])
    assert role.metric("waiting") == 0
    role.shelf.troubles.clear()
    role.schedule.turn()
    assert role.shelf.announced == ["shop.returns", "shop.orders", "shop.returns"]


def test_what_does_not_pass_ends_the_role() -> None:
    """Whoever started it is told by the exit code."""
    role = Role()
    role.shelf.troubles["take shop.orders"] = StartRefusedError("gone", code="RANGE_LOST")
    with pytest.raises(StartRefusedError, match="gone"):
        role.schedule.turn()


def test_table_and_log_are_compared_so_often_and_a_difference_is_told() -> None:
    """After the first turn, then when it is due; the metrics keep what was found."""
    role = Role(verify_every_s=100)
    role.schedule.turn()
    role.schedule.turn()
    assert role.shelf.verified == ["shop.orders", "shop.returns"]
    role.shelf.verdict = DIFFERENT
    role.clock.advance(100)
    role.schedule.turn()
    assert role.shelf.verified == ["shop.orders", "shop.returns"] * 2
    assert role.troubles == ["DIFFERENT", "DIFFERENT"]
    labels = {"topic": "shop.orders"}
    assert role.metric("snapshot_check_age_seconds", **labels) == 0
    assert role.metric("snapshot_check_outcome", **labels, outcome="different") == 1
    assert role.metric("snapshot_check_outcome", **labels, outcome="equal") == 0


@pytest.mark.parametrize("error", [UnavailableError("away"), UnverifiableError("a feature")])
def test_a_comparison_that_could_not_be_made_is_due_again(error: HeadwaterError) -> None:
    """It is told, and the age of the last one tells."""
    role = Role(verify_every_s=100)
    role.shelf.troubles["verify shop.orders"] = error
    role.schedule.turn()
    assert role.troubles == [error.code]
    assert role.schedule.pause_s == 60
    assert role.metric("snapshot_check_age_seconds", topic="shop.orders") is None
    role.shelf.troubles.clear()
    role.schedule.turn()
    assert role.shelf.verified == ["shop.orders", "shop.returns"]
