"""Random histories of processes, faults and rebalances over the broker in memory.

After every step, what a read_committed reader sees is exactly what the committed positions say.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from headwater.adapters.memory import LostCommit, Partial
from headwater.adapters.memory.faults import Fault, Operation
from headwater.errors import (
    AbortableError,
    FatalError,
    FencedError,
    RecycleError,
    RetriableError,
    UnavailableError,
)

if TYPE_CHECKING:
    from tests.engine.conftest import Process, World

EXAMPLES: Final = 250
STEPS: Final = 40
LIVES: Final = ("one", "two")

ABORTABLE: Final = AbortableError("scripted")
RECYCLE: Final = RecycleError("scripted")
AWAY: Final = UnavailableError("scripted")
RETRIABLE: Final = RetriableError("scripted")

FAULTS: Final[list[tuple[Operation, Fault]]] = [
    ("begin", RECYCLE),
    ("produce", ABORTABLE),
    ("produce", RECYCLE),
    ("produce", Partial(0)),
    ("produce", Partial(1)),
    ("send_offsets", ABORTABLE),
    ("send_offsets", AWAY),
    ("commit", ABORTABLE),
    ("commit", RECYCLE),
    ("commit", LostCommit.REQUEST),
    ("commit", LostCommit.ANSWER),
    ("commit", LostCommit.MARKERS),
    ("abort", RECYCLE),
    ("abort", AWAY),
    ("initialise", AWAY),
    ("committed", AWAY),
    ("poll", RETRIABLE),
]
MORTAL: Final[list[Operation]] = [
    "begin",
    "produce",
    "send_offsets",
    "commit",
    "initialise",
    "poll",
]


class Histories(RuleBasedStateMachine):
    """Processes of one product come, fail, move and go."""

    new_world: "Callable[[], World]"

    def __init__(self) -> None:
        super().__init__()
        self.world = self.new_world()
        self.running: dict[str, Process] = {}
        self.zombies: list[Process] = []
        self.start("one")

    def start(self, instance: str) -> None:
        old = self.running.pop(instance, None)
        if old is not None and old.is_running:
            self.zombies.append(old)
        self.running[instance] = self.world.process(instance, poll_size=2).begin()

    @rule(
        values=st.lists(
            st.sampled_from([b"a", b"a", b"a", b"bad", b"drop"]), min_size=3, max_size=12
        )
    )
    def feed(self, values: list[bytes]) -> None:
        self.world.feed(*values)

    @rule(instance=st.sampled_from(LIVES), turns=st.integers(3, 12))
    def step(self, instance: str, turns: int) -> None:
        process = self.running.get(instance)
        for _ in range(turns):
            if process is not None and process.is_running:
                process.step()
                self.judge_end(process)

    @rule(fault=st.sampled_from(FAULTS), values=st.lists(st.just(b"a"), min_size=8, max_size=20))
    def fail_in_the_middle_of_work(
        self, fault: tuple[Operation, Fault], values: list[bytes]
    ) -> None:
        self.world.feed(*values)
        self.step("one", 3)
        self.world.broker.faults.script(fault[0], fault[1])
        self.step("one", 9)

    @rule(
        fault=st.sampled_from(FAULTS), after=st.integers(0, 2), times=st.sampled_from([1, 1, 2, 4])
    )
    def script(self, fault: tuple[Operation, Fault], after: int, times: int) -> None:
        self.world.broker.faults.script(fault[0], fault[1], after=after, times=times)

    @rule(operation=st.sampled_from(MORTAL), after=st.integers(0, 3))
    def kill_in(self, operation: Operation, after: int) -> None:
        self.world.broker.faults.script(operation, self.world.kill_current, after=after)

    @rule(calls=st.integers(1, 12))
    def broker_goes_away(self, calls: int) -> None:
        self.world.broker.faults.away_for(calls)

    @rule(instance=st.sampled_from(LIVES), calls=st.integers(1, 3))
    def registry_goes_away(self, instance: str, calls: int) -> None:
        if instance in self.running:
            self.running[instance].task.away = calls

    @rule(instance=st.sampled_from(LIVES))
    def start_anew(self, instance: str) -> None:
        """Beside or instead of the process of this id; an older one lives on as a zombie."""
        self.start(instance)

    @rule(instance=st.sampled_from(LIVES))
    def kill(self, instance: str) -> None:
        if instance in self.running:
            self.running[instance].kill()

    @rule(instance=st.sampled_from(LIVES))
    def stop(self, instance: str) -> None:
        process = self.running.get(instance)
        if process is not None and process.is_running:
            process.stop()

    @rule(instance=st.sampled_from(LIVES))
    def session_expires(self, instance: str) -> None:
        self.world.broker.group("product").expire(instance)

    @rule(operation=st.sampled_from(MORTAL), instance=st.sampled_from(LIVES))
    def session_expires_in(self, operation: Operation, instance: str) -> None:
        group = self.world.broker.group("product")
        self.world.broker.faults.script(operation, lambda: group.expire(instance))

    @rule(seconds=st.sampled_from([0.05, 0.2, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.broker.clock.advance(seconds)

    @rule()
    def a_zombie_wakes(self) -> None:
        for zombie in self.zombies:
            for _ in range(3):
                if zombie.is_running:
                    zombie.step()

    @invariant()
    def what_is_seen_is_what_is_committed(self) -> None:
        self.world.check()

    def judge_end(self, process: "Process") -> None:
        """A process ends for a named reason only, and is fenced only by one of the same id."""
        if isinstance(process.ended, Exception):
            assert isinstance(process.ended, FatalError | UnavailableError), process.ended
        if isinstance(process.ended, FencedError):
            assert any(zombie.instance == process.instance for zombie in self.zombies)

    def forget_the_dead(self) -> None:
        """The sessions of processes that are gone end."""
        group = self.world.broker.group("product")
        alive = [p.source._member for p in self.running.values() if p.is_running]
        for instance, member in list(group.members.items()):
            if member not in alive:
                group.expire(instance)

    def teardown(self) -> None:
        """When all is well again, everything comes out, once."""
        world = self.world
        world.broker.faults.clear()
        self.a_zombie_wakes()
        world.check()
        for zombie in self.zombies:
            zombie.kill()
        world.feed(b"last", b"last", b"last")
        for _ in range(1000):
            if world.positions() == world.topics.ends("in"):
                break
            self.forget_the_dead()
            if not any(process.is_running for process in self.running.values()):
                self.start("one")  # as whoever supervises it does
            for instance in LIVES:
                self.step(instance, 1)
        world.broker.clock.advance(11.0)
        world.broker.expire_transactions()
        world.check_complete()
        for process in self.running.values():
            world.ended(process)


def few_or_many(few: int, many: int) -> pytest.MarkDecorator:
    """So many histories each time, and so many with `make faults`; the parameter `examples`."""
    long = [pytest.mark.faults, pytest.mark.timeout(1800)]
    cases = [
        pytest.param(few, id="few", marks=pytest.mark.timeout(180)),
        pytest.param(many, id="many", marks=long),
    ]
    return pytest.mark.parametrize("examples", cases)


def run_histories(
    new_world: "Callable[[], World]",
    *,
    examples: int,
    steps: int = STEPS,
    histories: type[Histories] = Histories,
) -> None:
    """So many random histories of worlds of this kind, each of so many steps."""
    machine = type("Machine", (histories,), {"new_world": staticmethod(new_world)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.generate],  # shrinking a history takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(60)
def test_every_history_publishes_everything_exactly_once(
    new_world: "Callable[[], World]",
) -> None:
    """Kills, zombies, rebalances, lost answers and outages in any order: nothing lost or twice."""
    run_histories(new_world, examples=EXAMPLES)
