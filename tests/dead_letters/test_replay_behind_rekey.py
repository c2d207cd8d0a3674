"""Letters of rows that were refused behind a change of key: only the input has their record."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
from tests.dead_letters.world import INPUT, EchoTask, World, heard

from headwater.adapters.memory.reader import MemoryRecords
from headwater.assembly.letters.box import Selection
from headwater.assembly.letters.replay import Replay, ReplayOptions
from headwater.assembly.letters.work import Release
from headwater.engine import LetterWriter, Publication, Work
from headwater.model import ELSEWHERE, Code, Quarantine, RawRecord
from headwater.ports import Records


class TwiceTask(EchoTask):
    """Publishes each value twice."""

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        work = super().process(records, guilty)
        (once,) = work.publications
        twice = Publication(
            once.topic, [*once.keys] * 2, [*once.values] * 2, pl.concat([once.rows, once.rows])
        )
        return replace(work, publications=[twice])


def set_moved_aside(world: World, value: bytes) -> None:
    """A record of the input, and the letter of its row behind a change of key."""
    world.feed(value)
    record = world.broker.visible(INPUT)[-1]
    moved = RawRecord(record.partition, record.offset, 99, None, None, ELSEWHERE)
    writer = LetterWriter(world.box.topic, "r1", world.broker.clock)
    records = MemoryRecords(INPUT, [moved])
    (letter,) = writer.letters(records, [Quarantine(0, Code.STEP_FAILED, "why", "step")])
    world.broker.append(world.box.topic, None, headers=tuple(letter.headers))


def test_a_row_behind_a_change_of_key_stays_where_other_state_has_its_record(
    world: World,
) -> None:
    """It would be counted there twice; letters of the record itself left no trace."""
    world.set_aside(b"v")
    set_moved_aside(world, b"w")
    task = EchoTask(world.box.topic)
    release = Release(lambda _topic: task, world.sandbox, remembered={INPUT})
    replay = Replay(world.box, world.ledger(), release, topics=world.topics, reader=world.reader)
    done = replay.run(Selection(), ReplayOptions(), heard)
    assert (done.replayed, len(done.refused), world.outputs()) == (1, 1, [b"v"])
    assert "would count it twice" in done.refused[0].reason
    assert world.statuses() == ["replayed", "open"]


def test_a_row_behind_a_change_of_key_comes_back_only_where_it_is_alone(world: World) -> None:
    """Of a record that makes several rows the others are published already."""
    for value in (b"v", b"w"):
        set_moved_aside(world, value)
    first = Selection(places=frozenset({(0, 0)}))
    done = world.replay().run(first, ReplayOptions(), heard)
    assert (done.replayed, world.outputs()) == (1, [b"v"])
    twice = world.replay(task=TwiceTask(world.box.topic)).run(Selection(), ReplayOptions(), heard)
    assert (twice.replayed, len(twice.refused), world.outputs()) == (0, 1, [b"v"])
    assert "several of its record" in twice.refused[0].reason
    assert world.statuses() == ["replayed", "open"]


def test_a_row_behind_a_change_of_key_that_fails_before_it_stays_what_it_is(world: World) -> None:
    """Else a later release would publish all rows of its record, those that are out as well."""
    set_moved_aside(world, b"bad")
    done = world.replay().run(Selection(), ReplayOptions(), heard)
    assert done.failed_again == {"BAD_MAGIC": 1}
    (letter,) = (each.letter for each in world.entries() if each.status == "open")
    assert (letter.is_behind_rekey, letter.attempts, letter.source_offset) == (True, 2, 0)
    again = world.replay().run(Selection(), ReplayOptions(), heard)
    assert (again.failed_again, again.refused) == ({"BAD_MAGIC": 1}, [])
