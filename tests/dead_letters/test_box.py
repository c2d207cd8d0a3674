"""Letters and marks in memory: what is open, what is meant, and records fetched again."""

import pytest
from tests.dead_letters.world import ALL, INPUT, PRODUCT, World, heard
from tests.engine.test_rulings import Shop, check, contract, stream

from headwater.adapters.memory import MemoryTransactionalLog
from headwater.adapters.memory.faults import LostCommit
from headwater.assembly import audit
from headwater.assembly.audit import Action, Mark
from headwater.assembly.keys import encodings_of
from headwater.assembly.letters import work
from headwater.assembly.letters.box import DeadLetterBox, Selection
from headwater.assembly.letters.replay import ReplayOptions
from headwater.engine import BadRecordLimit, BadRecordWindow, DeadLetterTail
from headwater.engine.dead_letters import read_letter
from headwater.errors import ConfigurationError, FencedError, UnavailableError, UnverifiableError
from headwater.model import Code, Headers, Partition, RawRecord


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
    monkeypatch.setattr(work, "LETTERS_AT_ONCE", 2)
    for value in (b"1", b"2", b"3", b"4", b"5"):
        world.set_aside(value)
    world.broker.faults.script("commit", LostCommit.REQUEST, after=1)
    with pytest.raises(UnavailableError):
        world.replay().run(ALL, ReplayOptions(), heard)
    world.broker.clock.advance(20)  # the broker aborts what the dead process left open
    assert world.statuses() == ["replayed", "replayed", "open", "open", "open"]
    assert world.replay().run(ALL, ReplayOptions(), heard).replayed == 3
    assert world.outputs() == [b"1", b"2", b"3", b"4", b"5"]


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


def test_open_letters_are_counted_without_those_that_were_decided_about(world: World) -> None:
    """A product that never ran has none; one that is replayed is open no more."""
    never = DeadLetterBox("never.ran", world.topics, world.reader, world.audit)
    assert never.open_count(heard) == 0
    world.set_aside(b"bad 1")
    world.set_aside(b"good 2")
    assert world.box.open_count(heard) == 2
    world.replay().run(ALL, ReplayOptions(), heard)
    assert world.box.open_count(heard) == 1


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


def test_what_ends_a_process_only_now_goes_through_the_sandbox_too(world: World) -> None:
    """A record that only failed before may be deadly under this release."""
    world.set_aside(b"one")
    world.set_aside(b"deadly", code=Code.STEP_FAILED)
    done = world.replay().run(ALL, ReplayOptions(), heard)
    assert (done.replayed, done.failed_again) == (1, {"PROCESS_DIED": 1})
    assert (world.outputs(), world.sandbox.asked) == ([b"one"], 1)


def test_a_rule_that_stops_costs_a_replay_its_letter_alone(world: World) -> None:
    """Nothing of that one is published, the others come out, and the answer says so."""
    for value in (b"one", b"stop", b"two", b"stop", b"deadly", b"three"):
        world.set_aside(value)
    done = world.replay().run(ALL, ReplayOptions(), heard)
    assert (done.replayed, done.stopping) == (3, 2)
    assert done.failed_again == {"CONTRACT_VIOLATION": 2, "PROCESS_DIED": 1}
    assert world.outputs() == [b"one", b"two", b"three"]
    found = [each.letter for each in world.entries() if each.status == "open"]
    assert [(each.source_offset, each.attempts) for each in found] == [(1, 2), (3, 2), (4, 2)]
    assert "severity is stop" in found[0].message


def test_a_letter_of_a_rule_that_stops_names_the_rule_and_its_record(world: World) -> None:
    """And comes out under a release whose rule lets it pass."""
    strict, lenient = (
        Shop(contract("in"), (stream(), contract("out", [check("n < 5", severity)])))
        for severity in ("stop", "warn")
    )
    for record in strict.records(1, 7, 2, 9).records:
        world.set_aside(record.value or b"")
    done = world.replay(task=strict.task).run(ALL, ReplayOptions(), heard)
    assert (done.replayed, done.stopping, done.written) == (2, 2, {"out": 2})
    found = [each.letter for each in world.entries() if each.status == "open"]
    assert [(each.source_offset, each.code, each.step) for each in found] == [
        (1, "CONTRACT_VIOLATION", "rules"),
        (3, "CONTRACT_VIOLATION", "rules"),
    ]
    for each in found:
        assert each.message.startswith(f"in[0]@{each.source_offset} breaks the rule a-stop (n < 5)")
    done = world.replay(task=lenient.task).run(ALL, ReplayOptions(), heard)
    assert (done.replayed, done.stopping, len(world.outputs())) == (2, 0, 4)


@pytest.mark.parametrize(("value", "statuses"), [(b"one", ["replayed"] * 2), (b"bad", ["open"])])
@pytest.mark.parametrize("places", [frozenset({(0, 0)}), frozenset({(0, 1)}), frozenset()])
def test_a_record_with_two_letters_comes_out_once(
    world: World, value: bytes, statuses: list[str], places: frozenset[tuple[int, int]]
) -> None:
    """After an input was read anew: all its letters are resolved with it, or by one new letter."""
    world.set_aside(value)
    world.broker.clock.advance(1)
    world.write_letter()
    done = world.replay().run(Selection(places=places), ReplayOptions(), heard)
    assert (done.replayed, done.failed_again.total()) == ((2, 0) if value == b"one" else (0, 2))
    assert world.outputs() == [value] * (value == b"one")
    assert [each for each in world.statuses() if each != "failed-again"] == statuses
    last = world.entries()[-1].letter
    assert value == b"one" or (last.attempts, last.first_seen_ms, last.source_offset) == (2, 0, 0)


def test_two_records_of_one_place_are_two(world: World) -> None:
    """An input topic made anew has other records at the same offsets; each answers for itself."""
    world.set_aside(b"one")
    world.broker.create(world.broker.topic(INPUT).settings)
    world.set_aside(b"bad")
    done = world.replay().run(ALL, ReplayOptions(), heard)
    assert (done.replayed, done.failed_again.total(), world.outputs()) == (1, 1, [b"one"])
    assert world.statuses() == ["replayed", "failed-again", "open"]


def test_another_record_of_a_place_is_not_replayed_along(world: World) -> None:
    """Only letters of the very record that is meant are."""
    world.set_aside(b"one")
    world.broker.create(world.broker.topic(INPUT).settings)
    world.set_aside(b"two")
    done = world.replay().run(Selection(places=frozenset({(0, 1)})), ReplayOptions(), heard)
    assert (done.replayed, world.outputs()) == (1, [b"two"])
    assert world.statuses() == ["open", "replayed"]


def test_marks_of_a_deleted_topic_resolve_nothing_in_its_successor(world: World) -> None:
    """The audit log keeps them for ever, and offsets begin anew."""
    world.set_aside(b"one")
    assert world.replay().run(ALL, ReplayOptions(), heard).replayed == 1
    world.broker.create(world.broker.topic(world.box.topic).settings)
    world.set_aside(b"two")
    assert world.statuses() == ["open"]
    assert world.replay().run(ALL, ReplayOptions(), heard).replayed == 1
    assert (world.outputs(), world.statuses()) == ([b"one", b"two"], ["replayed"])


def test_older_marks_resolve_only_the_letter_they_were_made_for(world: World) -> None:
    """They have no id of the topic: the record tells, and that it was seen before the mark."""
    world.set_aside(b"one")
    letter = world.entries()[0].letter
    ledger = world.ledger()
    ledger.take_over()
    ledger.commit([Mark(Action.DISCARDED, letter.partition, letter.offset, letter=letter)])
    assert world.statuses() == ["discarded"]
    world.broker.create(world.broker.topic(world.box.topic).settings)
    world.set_aside(b"another record")
    assert world.statuses() == ["open"]
    world.broker.create(world.broker.topic(world.box.topic).settings)
    world.broker.create(world.broker.topic(INPUT).settings)
    world.broker.clock.advance(1)
    world.set_aside(b"one")
    assert world.statuses() == ["open"]


@pytest.mark.parametrize(
    ("text", "published_ms"), [(b"-1", -1), (b"5", 5), (b"", 7), (b"9" * 5_000, 7), (b"x", 7)]
)
def test_a_publish_time_is_read_back(text: bytes, published_ms: int) -> None:
    """Kafka's "no time" is -1; what is no number is passed by."""
    headers: Headers = [
        ("headwater.error.code", b"BAD_KEY"),
        ("headwater.error.topic", b"in"),
        ("headwater.error.partition", b"0"),
        ("headwater.error.offset", b"0"),
        ("headwater.error.timestamp", text),
    ]
    letter = read_letter(RawRecord(Partition("d", 0), 0, 7, None, b"?", headers))
    assert letter is not None
    assert letter.published_ms == published_ms


@pytest.mark.parametrize(
    ("number", "widths"),
    [(-(2**31), [4, 8]), (2**31 - 1, [4, 8]), (2**31, [8]), (-(2**63), [8]), (2**63, [])],
)
def test_a_whole_number_is_meant_in_each_width_that_holds_it(
    number: int, widths: list[int]
) -> None:
    """As Kafka's integer and long serializers write it, the least of each too."""
    written = [number.to_bytes(width, "big", signed=True) for width in widths]
    assert list(encodings_of(str(number))) == [str(number).encode(), *written]
