"""Promise 9: no silent start."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.counting import CHANGELOG, CountingWorld

from headwater.adapters.memory import MemoryRangeReader
from headwater.adapters.memory.storage import Content
from headwater.engine import Start, StartPolicy
from headwater.engine.state_of_before import refuse_state_of_before
from headwater.errors import RetriableError, StartRefusedError, UnavailableError
from headwater.model import Partition
from headwater.ports import Records, TopicSettings

if TYPE_CHECKING:
    from tests.engine.conftest import Process, World

INPUT = [Partition("in", index) for index in range(3)]


def policy(declared: Start = "earliest", *, explicit: Start | None = None) -> StartPolicy:
    """How the product of these tests begins."""
    return StartPolicy("product", {"in": declared}, ["out"], explicit)


def refusal(process: "Process") -> str:
    """The code a run is refused with."""
    process.run()
    assert isinstance(process.ended, StartRefusedError), process.ended
    assert process.ended.exit_code == 78
    return process.ended.code


def test_the_start_is_committed_before_the_first_record(world: "World") -> None:
    """So a crash right after the start does not move it."""
    world.feed(*[b"a"] * 5)
    world.start = policy("latest")
    world.process().begin().kill()
    ends = world.topics.ends("in")
    assert world.positions() == ends
    world.feed(*[b"later"] * 5)
    world.broker.group("product").expire("one")
    world.process().run()
    assert len(world.outputs()) == 5
    assert all(value.startswith(b"out:later") for value in world.outputs())


def test_a_time_is_where_a_product_may_start(world: "World") -> None:
    """The first records at or after it; partitions without one start at their end."""
    for second in range(10):
        world.broker.append(
            "in", b"a#%d" % second, key=b"k%d" % (second % 3), timestamp_ms=second * 1000
        )
    world.start = policy(7000)
    world.process().run()
    assert sorted(world.outputs()) == [b"out:a#7", b"out:a#8", b"out:a#9"]


def test_lost_offsets_of_a_product_that_published_stop_it(world: "World") -> None:
    """Going on would publish twice or leave a gap."""
    world.feed(*[b"a"] * 5)
    world.process().run()
    world.broker.groups.clear()
    assert refusal(world.process()) == "OFFSETS_LOST"
    assert len(world.outputs()) == 5


def test_an_operator_may_say_where_to_go_on(world: "World") -> None:
    """`--start` is the way past lost offsets; it does not move offsets that are there."""
    world.feed(*[b"a"] * 5)
    world.process().run()
    world.broker.groups.clear()
    world.start = policy(explicit="latest")
    world.process().run()
    assert len(world.outputs()) == 5
    world.feed(b"a")
    world.start = policy(explicit="earliest")
    world.process().run()
    assert len(world.outputs()) == 6


def test_a_new_partition_starts_at_its_beginning(world: "World") -> None:
    """Also while the product runs, and although the declared start is the end."""
    world.start = policy("latest")
    process = world.process().begin()
    process.step()
    world.broker.grow("in", 6)
    world.feed(*[b"a"] * 20)
    for _ in range(20):
        process.step()
    assert len(world.outputs()) == 20
    world.check_complete()


def test_a_new_input_of_a_running_product_starts_as_declared(world: "World") -> None:
    """Offsets on another input say that nothing was lost."""
    world.feed(*[b"a"] * 5)
    world.process().run()
    world.topics.create([TopicSettings("more", 1, "source")])
    world.start = StartPolicy("product", {"in": "earliest", "more": "earliest"}, ["out"])
    world.broker.group("product").expire("one")
    world.process().run()
    assert world.topics.group_offsets("product", "more") == {Partition("more", 0): 0}


def test_records_removed_before_they_were_read_stop_the_product(world: "World") -> None:
    """`DATA_LOSS`, before anything is read."""
    world.feed(*[b"a"] * 30)
    world.process().begin().kill()
    for partition in INPUT:
        world.broker.partition(partition).truncate(2)
    assert refusal(world.process()) == "DATA_LOSS"
    assert world.outputs() == []


def test_an_input_made_anew_stops_the_product(world: "World") -> None:
    """A committed position beyond the end is of another log."""
    world.feed(*[b"a"] * 30)
    world.process().run()
    world.broker.create(TopicSettings("in", 3, "source"))
    assert refusal(world.process()) == "DATA_LOSS"


def test_another_partition_count_of_the_output_stops_the_product(world: "World") -> None:
    """Keys would move; the count is frozen in the note beside the positions."""
    world.feed(*[b"a"] * 5)
    process = world.process()
    process.run()
    notes = process.source.metadata(INPUT)
    assert {json.loads(note)["outputs"]["out"] for note in notes.values()} == {2}
    world.broker.grow("out", 4)
    assert refusal(world.process()) == "PARTITIONS_CHANGED"


def test_a_group_that_is_not_empty_is_waited_for_and_then_given_up(world: "World") -> None:
    """A member that died holds its place for a while; the bound is that of its session."""
    world.broker.group("product").join("somebody", ["in"])
    process = world.process().begin()
    assert isinstance(process.ended, UnavailableError)
    assert 20 < world.broker.clock.at_s < 25


def test_of_two_that_start_at_once_one_sets_the_start(world: "World") -> None:
    """The other reads what it wrote."""
    world.feed(*[b"a"] * 5)
    world.broker.faults.script(
        "commit_start", lambda: world.process("quick").begin().step(), after=0
    )
    world.start = policy("latest")
    slow = world.process("slow").begin()
    assert slow.is_running
    assert set(world.positions().values()) == set(world.topics.ends("in").values())


def test_a_start_that_cannot_be_had_now_is_asked_for_again(world: "World") -> None:
    """A broker that is away when partitions arrive does not leave them unread."""
    world.feed(*[b"a"] * 5)
    world.broker.faults.script("committed", RetriableError("away"), times=3)
    process = world.process()
    process.run()
    assert process.ended is None
    world.check_complete()


def stateful(world: CountingWorld, name: str = "one") -> "Process":
    """A process of a product with state that was run to its end."""
    world.broker.group("product").members.clear()
    process = world.process(name, poll_size=3)
    process.run()
    process.ended = process.ended or "stopped"
    return process


@pytest.mark.parametrize("name", ["one", "two"], ids=["its disk", "another disk"])
def test_state_without_offsets_is_refused_whatever_the_operator_says(name: str) -> None:
    """`STATE_OF_BEFORE`: what `--start` reads again would be counted twice."""
    world = CountingWorld()
    world.feed(*[b"a"] * 30)
    stateful(world)
    offsets = dict(world.broker.group("product").offsets)
    world.broker.groups.clear()
    world.start = replace(world.start, explicit="earliest")
    ended = stateful(world, name).ended
    assert isinstance(ended, StartRefusedError)
    assert (ended.code, ended.exit_code) == ("STATE_OF_BEFORE", 78)
    assert f"in[0], but there is state of what it read before in {CHANGELOG};" in str(ended)
    assert not world.positions(), "asked again, it is refused again"
    world.broker.group("product").offsets.update(offsets)
    world.feed(*[b"b"] * 10)
    stateful(world, name)
    world.check_complete()


def test_state_of_one_partition_without_an_offset_is_refused() -> None:
    """Offsets can be deleted by partition; a new partition has no state."""
    world = CountingWorld()
    world.feed(*[b"a"] * 30)
    stateful(world)
    del world.broker.group("product").offsets[Partition("in", 1)]
    ended = stateful(world).ended
    assert isinstance(ended, StartRefusedError)
    assert ended.code == "STATE_OF_BEFORE"
    assert "in[1], but" in str(ended)


@pytest.fixture
def joined() -> CountingWorld:
    """Two topics whose records change the same state, in four of three former partitions."""
    world = CountingWorld(inputs=("in", "other"))
    world.co_partitioned = [("in", "other", CHANGELOG)]
    world.feed(*[b"a"] * 10)
    stateful(world)
    for topic in ("in", "other", CHANGELOG):
        world.broker.grow(topic, 4)
    for number in range(20):
        world.broker.append("other", b"b#%d" % number, key=b"other %d" % number)
    return world


def test_a_new_partition_whose_other_side_brings_records_is_not_of_before(
    joined: CountingWorld,
) -> None:
    """Its task has rows before it brought any: where it begins is committed before them."""
    stateful(joined)
    assert any(record.partition.index == 3 for record in joined.committed(CHANGELOG))
    assert stateful(joined).ended == "stopped"
    assert joined.positions()[Partition("in", 3)] == 0
    joined.check_counts()


@pytest.mark.parametrize("topic", ["in", "other"])
def test_state_of_two_topics_without_the_offsets_of_one_is_refused(
    joined: CountingWorld, topic: str
) -> None:
    """Offsets can be deleted by topic, and what either brought would be counted twice."""
    stateful(joined)
    offsets = joined.broker.group("product").offsets
    for index in range(4):
        del offsets[Partition(topic, index)]
    ended = stateful(joined).ended
    assert isinstance(ended, StartRefusedError)
    assert (ended.code, f"{topic}[0], but" in str(ended)) == ("STATE_OF_BEFORE", True)


def test_a_changelog_without_rows_is_no_state() -> None:
    """Deletions, and control records of transactions that were aborted, are nothing to count on."""
    world = CountingWorld()
    log = world.broker.partition(Partition(CHANGELOG, 0))
    log.append(Content(b"key", None, ()), world.broker.clock.wall_ms(), None)
    world.feed(*[b"a"] * 30)
    stateful(world)
    assert world.positions() == world.topics.ends("in")


def test_a_process_that_started_meanwhile_is_not_mistaken_for_before() -> None:
    """Its offsets were committed before its first row: asked again, they are there."""
    world = CountingWorld()
    world.feed(*[b"a"] * 30)
    stateful(world)
    offsets = dict(world.broker.group("product").offsets)
    world.broker.groups.clear()
    reading = MemoryRangeReader(world.broker)

    class Reader(MemoryRangeReader):
        def read(self, *given: Any, **named: Any) -> Iterator[Records]:
            world.broker.group("product").offsets.update(offsets)
            return reading.read(*given, **named)

    refuse_state_of_before("product", {CHANGELOG: ["in"]}, world.topics, Reader(world.broker))


def test_state_made_anew_is_counted_from_the_start() -> None:
    """What the message says: without the changelog, its old disk is no state either."""
    world = CountingWorld()
    world.feed(*[b"a"] * 30)
    stateful(world)
    world.broker.groups.clear()
    for topic, kind in ((CHANGELOG, "table"), ("out", "log")):
        world.broker.create(TopicSettings(topic, 3, kind))  # type: ignore[arg-type]  # both are kinds
    stateful(world)
    world.check_complete()
