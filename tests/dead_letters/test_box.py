"""Letters and marks in memory: what is open, what is meant, and records fetched again."""

from collections.abc import Callable, Sequence
from typing import Final

import polars as pl
import pytest

from headwater.adapters.memory import (
    MemoryBroker,
    MemoryRangeReader,
    MemoryTopics,
    MemoryTransactionalLog,
)
from headwater.adapters.memory.faults import LostCommit
from headwater.adapters.memory.reader import MemoryRecords
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly import audit, letters_work
from headwater.assembly.audit import Action, Actor, AuditLog, Mark
from headwater.assembly.letters import DeadLetterBox, Entry, Selection
from headwater.assembly.letters_ledger import Ledger
from headwater.assembly.letters_replay import Replay, ReplayOptions
from headwater.assembly.letters_work import Release
from headwater.engine import (
    BadRecordLimit,
    BadRecordWindow,
    DeadLetterTail,
    LetterWriter,
    Publication,
    Task,
    Work,
)
from headwater.engine.dead_letters import read_letter
from headwater.errors import ConfigurationError, FencedError, UnavailableError, UnverifiableError
from headwater.model import Code, Headers, Partition, Quarantine, RawRecord
from headwater.ports import Records, TopicSettings

PRODUCT: Final = "out"
INPUT: Final = "in"
ME: Final = Actor("tester", PRODUCT, "r2")
ALL: Final = Selection()
OLD: Final = ("release", "first.seen", "attempts")


class EchoTask(Task):
    """Publishes each value under its key; refuses `bad…`, drops `drop…`."""

    def __init__(self, dead_letters: str) -> None:
        self._dead_letters = LetterWriter(dead_letters, "r2")

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        rows = range(len(records))
        values = [value or b"" for value in records.values]
        bad = [
            *guilty,
            *(Quarantine(row, Code.BAD_MAGIC, "bad") for row in rows if values[row][:3] == b"bad"),
        ]
        refused = {each.row for each in bad}
        kept = [row for row in rows if row not in refused and values[row][:4] != b"drop"]
        keys = records.keys()
        return Work(
            topic=records.topic,
            read=len(records),
            size=0,
            ends=records.ends(),
            publications=[
                Publication(
                    PRODUCT,
                    [keys[row] for row in kept],
                    [values[row] for row in kept],
                    pl.Series(kept, dtype=pl.UInt32),
                )
            ],
            dead_letters=self._dead_letters.topic,
            letters=self._dead_letters.letters(records, bad),
            letter_rows=sorted(refused),
            codes={},
        )


class StrictSandbox:
    """Finds `deadly…` guilty, and remembers how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def guilty(self, records: Records, keep_alive: Callable[[], None]) -> Sequence[Quarantine]:
        self.asked += 1
        keep_alive()
        return [
            Quarantine(row, Code.PROCESS_DIED, "it died", "step")
            for row, value in enumerate(records.values)
            if (value or b"").startswith(b"deadly")
        ]

    def close(self) -> None: ...


class World:
    """A product's topics in memory, with letters of its input."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.topics = MemoryTopics(self.broker)
        self.reader = MemoryRangeReader(self.broker)
        self.audit = AuditLog(self.topics, MemoryRegistry(), self.reader, clock=self.broker.clock)
        self.sandbox = StrictSandbox()
        self.box = DeadLetterBox(PRODUCT, self.topics, self.reader, self.audit)
        self.topics.create(
            [
                TopicSettings(INPUT, 1, "source"),
                TopicSettings(PRODUCT, 1, "log"),
                TopicSettings(self.box.topic, 1, "dead-letters"),
                TopicSettings(audit.TOPIC, 1, "log"),
            ]
        )

    def set_aside(
        self, value: bytes, *, key: bytes = b"k", code: Code = Code.STEP_FAILED, old: bool = False
    ) -> None:
        """Feed a record, and its letter; an `old` one without what later releases added."""
        self.broker.append(INPUT, value, key=key, headers=(("own", b"1"),))
        record = self.broker.visible(INPUT)[-1]
        writer = LetterWriter(self.box.topic, "r1", self.broker.clock)
        (letter,) = writer.letters(
            MemoryRecords(INPUT, [record]), [Quarantine(0, code, "why", "step")]
        )
        headers = [h for h in letter.headers if not (old and h[0][16:] in OLD)]
        self.broker.append(self.box.topic, letter.value, key=letter.key, headers=tuple(headers))

    def ledger(self) -> Ledger:
        """A new process that resolves letters."""
        log = MemoryTransactionalLog(self.broker, transactional_id=self.box.topic)
        return Ledger(log, self.audit, ME, dead_letters=self.box.topic)

    def replay(self, ledger: Ledger | None = None) -> Replay:
        """A replay by a new process."""
        task = EchoTask(self.box.topic)
        return Replay(
            self.box,
            ledger or self.ledger(),
            Release(lambda topic: task if topic == INPUT else None, self.sandbox),
            topics=self.topics,
            reader=self.reader,
        )

    def entries(self, selection: Selection = ALL) -> list[Entry]:
        """What is there."""
        return self.box.entries(selection, lambda _done, _total: None)

    def statuses(self) -> list[str]:
        """What became of each letter."""
        return [each.status for each in self.entries()]

    def outputs(self) -> list[bytes | None]:
        """What was published."""
        return [record.value for record in self.broker.visible(PRODUCT)]


def heard(_done: int, _total: int) -> None:
    """Nobody watches."""


@pytest.fixture
def world() -> World:
    """A product without letters."""
    return World()


def test_a_letter_is_replayed_once_with_its_own_headers(world: World) -> None:
    """The mark is committed with the output; a second replay finds nothing open."""
    for value in (b"one", b"drop", b"two"):
        world.set_aside(value)
    done = world.replay().run(ALL, ReplayOptions(), heard)
    assert (done.replayed, world.outputs()) == (3, [b"one", b"two"])
    assert world.statuses() == ["replayed"] * 3
    assert world.replay().run(ALL, ReplayOptions(), heard).replayed == 0
    assert world.outputs() == [b"one", b"two"]


def test_a_letter_of_an_older_release_is_replayed_too(world: World) -> None:
    """It was first seen when it was written, and once."""
    world.broker.clock.advance(5)
    world.set_aside(b"one", old=True)
    (entry,) = world.entries()
    assert (entry.letter.first_seen_ms, entry.letter.attempts) == (5_000, 1)
    assert world.replay().run(ALL, ReplayOptions(), heard).replayed == 1


def test_a_letter_that_fails_again_keeps_its_history(world: World) -> None:
    """A new letter of the same record with one attempt more; the old one is marked."""
    world.set_aside(b"bad")
    world.broker.clock.advance(5)
    for attempts in (2, 3):
        done = world.replay().run(ALL, ReplayOptions(), heard)
        assert (done.replayed, done.failed_again) == (0, {"BAD_MAGIC": 1})
        *before, last = world.entries()
        assert {each.status for each in before} == {"failed-again"}
        assert (last.status, last.letter.attempts) == ("open", attempts)
        assert (last.letter.first_seen_ms, last.letter.source_offset) == (0, 0)
    raw = world.broker.visible(world.box.topic)[-1]
    assert raw.headers[0] == ("own", b"1")


def test_what_was_too_large_for_a_letter_is_fetched_where_it_came_from(world: World) -> None:
    """And refused with the place when it is gone."""
    world.set_aside(b"one", code=Code.OVERSIZED_IN)
    world.set_aside(b"two", code=Code.OVERSIZED_IN)
    assert world.broker.visible(world.box.topic)[0].value is None
    world.broker.partition(Partition(INPUT, 0)).truncate(before=1)
    done = world.replay().run(ALL, ReplayOptions(), heard)
    assert (done.replayed, world.outputs()) == (1, [b"two"])
    (refused,) = done.refused
    assert "in[0]@0" in refused.reason
    assert world.statuses() == ["open", "replayed"]


def test_a_replay_that_was_overtaken_publishes_nothing(world: World) -> None:
    """Two at once: the later one fences the earlier, and reads the marks only then."""
    world.set_aside(b"one")
    early = world.ledger()
    early.take_over()
    assert world.replay().run(ALL, ReplayOptions(), heard).replayed == 1
    letter = world.entries()[0].letter
    with pytest.raises(FencedError, match="taken over"):
        early.commit([Mark(Action.DISCARDED, letter.partition, letter.offset, letter=letter)])
    assert world.statuses() == ["replayed"]


def test_a_mark_behind_an_open_transaction_is_not_overlooked(world: World) -> None:
    """Another product's replay is under way: whoever reads the marks waits, or says it cannot."""
    world.set_aside(b"one")
    letter = world.entries()[0].letter
    ledger = world.ledger()
    ledger.take_over()
    other = MemoryTransactionalLog(world.broker, transactional_id="other.dead-letters")
    other.initialise()
    other.begin()
    other.produce(audit.TOPIC, [b"x"], [b"?"])
    ledger.commit([Mark(Action.REPLAYED, letter.partition, letter.offset, letter=letter)])
    with pytest.raises(UnverifiableError):  # the memory one cannot wait
        world.entries()
    other.abort()
    assert world.statuses() == ["replayed"]


@pytest.mark.parametrize("lost", LostCommit)
def test_a_commit_without_an_answer_is_looked_up_by_the_next_replay(
    world: World, lost: LostCommit
) -> None:
    """The command ends, says to run it again, and nothing comes out twice."""
    world.set_aside(b"one")
    world.broker.faults.script("commit", lost)
    with pytest.raises(UnavailableError, match="again"):
        world.replay().run(ALL, ReplayOptions(), heard)
    world.replay().run(ALL, ReplayOptions(), heard)
    assert (world.outputs(), world.statuses()) == ([b"one"], ["replayed"])


def test_a_replay_goes_on_behind_its_last_commit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch after batch; what a process that died had committed is not done twice."""
    monkeypatch.setattr(letters_work, "LETTERS_AT_ONCE", 2)
    for value in (b"1", b"2", b"3", b"4", b"5"):
        world.set_aside(value)
    world.broker.faults.script("commit", LostCommit.REQUEST, after=1)
    with pytest.raises(UnavailableError):
        world.replay().run(ALL, ReplayOptions(), heard)
    world.broker.clock.advance(20)  # the broker aborts what the dead process left open
    assert world.statuses() == ["replayed", "replayed", "open", "open", "open"]
    assert world.replay().run(ALL, ReplayOptions(), heard).replayed == 3
    assert world.outputs() == [b"1", b"2", b"3", b"4", b"5"]


def test_letters_overtaken_by_newer_values_can_be_left_open(world: World) -> None:
    """Counted always, left with `if_newest`."""
    world.broker.clock.advance(1)
    world.set_aside(b"old-a", key=b"a")
    world.set_aside(b"old-b", key=b"b")
    world.broker.clock.advance(1)
    world.broker.append(PRODUCT, b"new", key=b"a")
    done = world.replay().run(ALL, ReplayOptions(if_newest=True), heard)
    assert (done.newer_keys, done.keys, done.left_newer, done.replayed) == (1, 2, 1, 1)
    assert world.outputs() == [b"new", b"old-b"]
    assert world.statuses() == ["open", "replayed"]


def test_a_dry_run_changes_nothing(world: World) -> None:
    """It says what would come of it."""
    world.set_aside(b"one")
    done = world.replay().run(ALL, ReplayOptions(is_dry=True), heard)
    assert (done.replayed, done.written) == (1, {PRODUCT: 1})
    assert (world.outputs(), world.statuses()) == ([], ["open"])


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(codes=frozenset({"BAD_MAGIC"})), [1]),
        (Selection(keys=frozenset({"a"})), [0]),
        (Selection(keys=frozenset({"258"})), [1]),
        (Selection(keys=frozenset({"0x00000102"})), [1]),
        (Selection(since_ms=1_000), [1]),
        (Selection(until_ms=1_000), [0]),
        (Selection(places=frozenset({(0, 1)})), [1]),
    ],
)
def test_letters_are_selected_by_what_they_say(
    world: World, selection: Selection, found: list[int]
) -> None:
    """Code, key, time and place."""
    world.set_aside(b"x", key=b"a")
    world.broker.clock.advance(1)
    world.set_aside(b"y", key=b"\0\0\1\2", code=Code.BAD_MAGIC)
    assert [each.letter.offset for each in world.entries(selection)] == found


def test_a_place_without_a_letter_is_a_mistake(world: World) -> None:
    """Silence would be taken for success."""
    with pytest.raises(ConfigurationError, match="0@7"):
        world.entries(Selection(places=frozenset({(0, 7)})))


def test_the_contract_of_the_audit_log_tells_everything(world: World) -> None:
    """Who, when, what, where and why, as any reader of Avro finds it."""
    world.set_aside(b"one")
    world.broker.clock.advance(3)
    letter = world.entries()[0].letter
    mark = Mark(
        Action.DISCARDED,
        letter.partition,
        0,
        code="X",
        reason="why",
        letter=letter,
        topic_id=world.box.topic_id,
    )
    ledger = world.ledger()
    ledger.take_over()
    ledger.commit([mark])
    ((place, (found,)),) = world.audit.marks(PRODUCT).items()
    assert place == (letter.partition, 0)
    assert (found.action, found.at_ms, found.topic_id) == (Action.DISCARDED, 3_000, mark.topic_id)
    assert found.source == (letter.source, letter.source_offset)
    assert world.audit.marks("other") == {}
    (record,) = world.broker.visible(audit.TOPIC)
    assert record.key == b"out.dead-letters/0/0"


def test_a_stranger_among_the_letters_is_passed_by() -> None:
    """It says nothing of where it came from."""
    strange: Headers = (("headwater.error.topic", b"in"),)
    assert read_letter(RawRecord(Partition("d", 0), 0, 0, None, b"?", strange)) is None


def test_a_replay_that_failed_is_no_second_bad_record(world: World) -> None:
    """The window of a start counts records, not letters."""
    world.set_aside(b"bad")
    world.replay().run(ALL, ReplayOptions(), heard)
    assert len(world.entries()) == 2
    window = BadRecordWindow(BadRecordLimit())
    tail = DeadLetterTail(world.box.topic, world.reader, world.topics)
    tail.restore(window, {Partition(INPUT, 0): 1})
    assert window.counts() == (1, 1)


def test_records_that_ended_a_process_go_through_the_sandbox_first(world: World) -> None:
    """What is still deadly is a letter again, and never reaches this process."""
    world.set_aside(b"deadly", code=Code.PROCESS_DIED)
    world.set_aside(b"harmless", code=Code.PROCESS_DIED)
    done = world.replay().run(ALL, ReplayOptions(), heard)
    assert (done.replayed, done.failed_again) == (1, {"PROCESS_DIED": 1})
    assert (world.outputs(), world.sandbox.asked) == ([b"harmless"], 1)
