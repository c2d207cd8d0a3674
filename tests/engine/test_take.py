"""What ends a process may be no record, but the number of them: then fewer are taken at once."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest
import structlog

from headwater.engine import Work
from headwater.engine.attempts import MAX_ATTEMPTS
from headwater.engine.take import Take
from headwater.model import Quarantine
from headwater.ports import Records

if TYPE_CHECKING:
    from tests.engine.conftest import Process, World

STEP_TIMEOUT_S = 20.0  # the default of the loop
NOTHING = Work("in", 0, 0, {}, [], "dead", [], Counter())


def take(poll_size: int = 1000, batch_bytes: int = 10_000) -> Take:
    """One that calls a batch slow above 10 s."""
    return Take(poll_size=poll_size, batch_bytes=batch_bytes, step_timeout_s=30.0)


def as_kafka(process: "Process") -> "Process":
    """The poll that hears of an assignment brings nothing yet."""
    ask, polls = process.source.poll, count()

    def poll(max_records: int, timeout_s: float) -> Sequence[Records]:
        return ask(max_records if next(polls) else 0, timeout_s)

    process.source.poll = poll  # type: ignore[method-assign]  # stricter than the fake
    return process


def slowly(process: "Process", seconds: float) -> list[int]:
    """A step that takes so long over a record, and its alarm; how many records each batch had."""
    echo, clock, sizes = process.task.process, process.world.broker.clock, list[int]()

    def slow(records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        if seconds * len(records) > STEP_TIMEOUT_S:
            process.task.kill()
        sizes.append(len(records))
        clock.advance(seconds * len(records))
        return echo(records, guilty)

    process.task.process = slow  # type: ignore[method-assign]  # takes its time
    return sizes


def test_a_step_that_is_merely_slow_comes_through(world: "World") -> None:
    """After three alarms in vain; told once, and no record is set aside for it."""
    world.feed(*[b"a"] * 7000)
    for _ in range(MAX_ATTEMPTS):
        slowly(process := as_kafka(world.process()), 0.004)
        process.run()
        assert process.ended == "killed"
    assert not any(world.positions().values())
    process = as_kafka(world.process())
    sizes = slowly(process, 0.004)
    with structlog.testing.capture_logs() as said:
        process.run()
    assert process.ended is None
    assert sizes[:4] == [1, 2, 4, 8]
    assert max(sizes) * 0.004 <= STEP_TIMEOUT_S * 2 / 3
    assert not process.monitor.codes
    world.check_complete()
    (told,) = [each for each in said if each["event"] == "take.slow"]
    assert told["todo"] == "raise step_timeout or lower poll_size"


def test_every_guarded_start_moves_on(world: "World") -> None:
    """Even when something ends the process that nobody measures, as their number does."""
    world.feed(*[b"a"] * 3000)
    stood, deaths = 0, 0
    for _ in range(40):
        process = as_kafka(world.process())
        echo, kill = process.task.process, process.task.kill

        def crowded(
            records: Records,
            guilty: Sequence[Quarantine] = (),
            echo: Callable[..., Work] = echo,
            kill: Callable[[], None] = kill,
        ) -> Work:
            if len(records) > 500:
                kill()
            return echo(records, guilty)

        process.task.process = crowded  # type: ignore[method-assign]  # is too much for memory
        process.run()
        stands = sum(world.positions().values())
        if process.ended is None:
            break
        deaths += 1
        assert deaths <= MAX_ATTEMPTS or stands > stood
        stood = stands
    assert process.ended is None
    assert deaths > MAX_ATTEMPTS
    world.check_complete()


def test_a_batch_grows_while_it_is_fast() -> None:
    """From one record to the most; what is slow is taken again, but no more of it."""
    sizes = take()
    assert sizes.records == 1000
    sizes.begin_small()
    for expected in (2, 4, 8):
        sizes.worked(replace(NOTHING, read=sizes.records), 1.0)
        assert sizes.records == expected
    sizes.worked(replace(NOTHING, read=8), 10.5)
    assert sizes.records == 8
    sizes.worked(replace(NOTHING, read=3), 0.1)  # as few as that prove nothing
    assert sizes.records == 8
    for _ in range(10):
        sizes.worked(replace(NOTHING, read=sizes.records), 0.1)
    assert sizes.records == 1000


@pytest.mark.parametrize(("size", "expected"), [(10, 1000), (100, 100), (20_000, 1), (0, 1000)])
def test_large_records_are_taken_in_small_numbers(size: int, expected: int) -> None:
    """So that a batch has about the bytes it may have, and one record at least."""
    sizes = take()
    sizes.worked(replace(NOTHING, read=10, size=10 * size), 0.1)
    assert sizes.records == expected


def test_a_slow_batch_of_a_run_in_health_takes_nothing_away() -> None:
    """What went well can go well again; only a start in vain begins small."""
    sizes = take()
    sizes.worked(replace(NOTHING, read=1000), 29.0)
    assert sizes.records == 1000
