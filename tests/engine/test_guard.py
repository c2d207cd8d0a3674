"""While a batch is searched the process stays a member, hears of changes and holds nothing open."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from headwater.engine.attempts import MAX_ATTEMPTS
from headwater.errors import AbortableError
from headwater.model import Code, Quarantine
from headwater.ports import Records

if TYPE_CHECKING:
    from tests.engine.conftest import Process, World


def suspicious(world: "World") -> None:
    """Every start so far was ended by a record."""
    world.feed(*[b"a"] * 10, b"kill", *[b"a"] * 10)
    for _ in range(MAX_ATTEMPTS):
        process = world.process()
        process.run()
        assert process.ended == "killed"


def during_search(process: "Process", act: Callable[[], None]) -> Sequence[str]:
    """`act` in the middle of each search; why searches ended before their time."""
    search, reasons = process.sandbox.guilty, list[str]()

    def searched(records: Records, keep_alive: Callable[[], None]) -> Sequence[Quarantine]:
        found = search(records, keep_alive)
        act()
        try:
            keep_alive()
        except AbortableError as error:
            reasons.append(str(error))
            raise
        return found

    process.sandbox.guilty = searched  # type: ignore[method-assign]  # something happens in it
    return reasons


def test_a_search_is_no_standstill(world: "World") -> None:
    """The health probe hears of it as often as the sandbox says that all is well."""
    suspicious(world)
    process, signs, seen = world.process(), iter(range(1000)), [0]
    process.monitor.alive = lambda: seen.append(next(signs))  # type: ignore[method-assign]  # counts
    during_search(process, seen.clear)
    process.run()
    assert len(seen) > 1
    found: list[int] = []
    during_search(again := world.process(), lambda: found.append(1))
    again.run()
    assert not found


def test_a_stop_ends_a_search(world: "World") -> None:
    """The batch is not worked on, and comes again after the next start, guarded as before."""
    suspicious(world)
    before = world.positions()
    process = world.process()
    reasons = during_search(process, process.loop.stop)
    process.run()
    assert process.ended is None
    assert reasons == ["asked to stop while a batch was searched"]
    assert world.positions() == before
    again = world.process()
    again.run()
    assert again.monitor.codes == {Code.PROCESS_DIED: 1}
    world.check_complete()


def test_a_rebalance_ends_a_search(world: "World") -> None:
    """The records may be another's by then; both members come through, and nothing is out twice."""
    suspicious(world)
    first, second = world.process("one"), world.process("two")
    joined: list[Process] = []

    def join() -> None:
        if not joined:
            joined.append(second.begin())

    reasons = during_search(first, join)
    first.begin()
    for _ in range(200):
        first.step()
        if joined:
            second.step()
    assert reasons == ["the assignment changed while a batch was searched"]
    assert first.is_running
    assert second.is_running
    assert first.monitor.endings["committed"]
    assert second.monitor.codes + first.monitor.codes == {Code.PROCESS_DIED: 1}
    world.check_complete()


def test_no_transaction_is_open_during_a_search(new_world: Callable[..., "World"]) -> None:
    """It would time out: what was staged of another input is committed first."""
    world = new_world(inputs=("a-quiet", "in"))
    for value in [b"kill#1", *[b"a#2"] * 7]:
        world.broker.append("in", value, key=b"k0")
    for _ in range(MAX_ATTEMPTS):
        world.process(poll_size=4).run()
    process, open_ones = world.process(poll_size=4), list[bool]()

    def look() -> None:
        open_ones.append(world.topics.ends("out") != world.topics.high_watermarks("out"))
        if len(open_ones) == 1:  # so that the next poll brings records of both inputs
            world.broker.append("a-quiet", b"a#3", key=b"k0")

    during_search(process, look)
    process.run()
    assert process.ended is None
    assert len(open_ones) > 1
    assert not any(open_ones)
    assert process.monitor.codes == {Code.PROCESS_DIED: 1}
