"""A world in memory for the loop: one product, its topics, and processes that run it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import polars as pl
import pytest
from tests.engine.scripted import ScriptedSandbox
from tests.engine.witness import Witness

from headwater.adapters.memory import (
    MemoryBroker,
    MemoryRangeReader,
    MemorySource,
    MemoryTopics,
    MemoryTransactionalLog,
)
from headwater.engine import (
    BadRecordLimit,
    BadRecordWindow,
    Checkpoints,
    CommitPolicy,
    FollowedTables,
    Loop,
    LoopSettings,
    Outside,
    Publication,
    Purging,
    Restoring,
    StartPolicy,
    StartPositions,
    StateSources,
    Stores,
    Task,
    Work,
)
from headwater.engine.dead_letters import DeadLetterTail, LetterWriter, source_position
from headwater.errors import HeadwaterError, UnavailableError
from headwater.model import (
    Code,
    Positions,
    Quarantine,
    RawRecord,
)
from headwater.ports import Monitor, Records, RecordSource, TopicSettings

GROUP, INPUT, OUTPUT, DEAD = "product", "in", "out", "out.dead-letters"


class EchoTask(Task):
    """Publishes `out:<value>` under the record's key; refuses `bad…`, filters `drop…`."""

    def __init__(self) -> None:
        self.away = 0  # calls on which the registry does not answer
        self.kill: Callable[[], None] = lambda: None  # what a record `kill…` does

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        if self.away:
            self.away -= 1
            raise UnavailableError("the registry does not answer")
        named = {each.row for each in guilty}
        keys: list[bytes | None] = []
        values: list[bytes] = []
        rows: list[int] = []
        quarantined: list[Quarantine] = list(guilty)
        for row, (key, value) in enumerate(zip(records.keys(), records.values, strict=True)):
            assert value is not None
            if row in named:
                continue
            if value.startswith(b"kill"):
                self.kill()
            if value.startswith(b"bad"):
                quarantined.append(Quarantine(row, Code.STEP_FAILED, "it is bad", "echo"))
            elif not value.startswith(b"drop"):
                keys.append(key)
                values.append(b"out:" + value)
                rows.append(row)
        return Work(
            topic=records.topic,
            read=len(records),
            size=sum(len(value or b"") for value in records.values),
            ends=records.ends(),
            publications=[Publication(OUTPUT, keys, values, pl.Series(rows, dtype=pl.UInt32))],
            dead_letters=DEAD,
            letters=LetterWriter(DEAD).letters(records, quarantined),
            codes=Counter(quarantine.code for quarantine in quarantined),
        )


class KilledError(BaseException):
    """The process is gone in the middle of a call."""


class Process:
    """One run of the product. `step` is a turn of the loop, for tests that interleave several."""

    def __init__(self, world: "World", instance: str, settings: LoopSettings) -> None:
        broker = world.broker
        self.world = world
        self.instance = instance
        self.source = MemorySource(broker, group=GROUP, member=instance)
        self.read = world.around(self.source)
        self.log = MemoryTransactionalLog(broker, transactional_id=instance)
        self.monitor = Witness()
        self.stores = world.stores(self)
        self.task = world.task(self.stores)
        self.tail = DeadLetterTail(DEAD, MemoryRangeReader(broker), world.topics)
        self.window = BadRecordWindow(world.limit, world.code_limits)
        self.sandbox = ScriptedSandbox()
        self.task.kill = world.kill_current
        tables = world.new_tables(self.monitor)
        sources = StateSources(
            world.topics, MemoryRangeReader(broker), world.checkpoints(self.stores), tables
        )
        restoring = Restoring(self.stores, sources, broker.clock)
        outside = Outside(
            self.read,
            self.log,
            self.monitor,
            broker.clock,
            self.tail,
            self.sandbox,
            restoring,
            Purging(world.topics, world.start.repartitions, broker.clock),
            tables,
            world.co_partitioned,
        )
        self.loop = Loop(
            outside,
            world.tasks(self.task),
            StartPositions(world.start, world.topics, MemoryRangeReader(broker)),
            window=self.window,
            settings=settings,
        )
        self.ended: BaseException | Literal["killed", "stopped"] | None = None

    @property
    def is_running(self) -> bool:
        return self.ended is None

    def run(self, *, hook: Callable[[int], None] | None = None) -> None:
        """The real `run`, up to the ends of now; `hook` is called after every turn."""
        turns = 0

        def progressed(_: Positions) -> None:
            nonlocal turns
            turns += 1
            assert turns < 5000, "the loop does not come to its end"
            if hook is not None:
                hook(turns)

        ends = {p: end for t in self.world.inputs for p, end in self.world.topics.ends(t).items()}
        self._guarded(lambda: self.loop.run(ends, on_progress=progressed))

    def begin(self) -> "Process":
        def joining() -> None:
            self.loop._start.commit_before_joining(self.read, self.world.broker.clock)
            self.read.subscribe(list(self.loop._tasks), self.loop)

        self._guarded(joining, finally_close=False)
        return self

    def step(self) -> None:
        self.world.broker.clock.advance(0.04)  # so that a commit falls due in the middle of batches
        self._guarded(self.loop._turn_or_recover, finally_close=False)

    def stop(self) -> None:
        def stopping() -> None:
            self.loop._drain()
            self.stores.release(self.stores.partitions())

        self._guarded(stopping)
        self.ended = self.ended or "stopped"

    def kill(self) -> None:
        """As `kill -9`: nothing more reaches the broker."""
        self.source.vanish()
        self.log.vanish()
        self.ended = "killed"
        self.world.ended(self)

    def _guarded(self, action: Callable[[], None], *, finally_close: bool = True) -> None:
        before, self.world.current = self.world.current, self
        try:
            action()
        except KilledError:
            return
        except HeadwaterError as error:
            self.ended, finally_close = error, True
        finally:
            self.world.current = before
        if finally_close and self.ended != "killed":
            self.source.close()
            self.log.close()
            self.world.ended(self)


class World:
    """The broker, what was fed, and what must come out of it."""

    def __init__(self, *, partitions: int = 3, inputs: Sequence[str] = (INPUT,)) -> None:
        self.broker = MemoryBroker()
        self.inputs = inputs
        self.topics = MemoryTopics(self.broker)
        self.topics.create(
            [
                *(TopicSettings(topic, partitions, "source") for topic in inputs),
                TopicSettings(OUTPUT, 2, "log"),
                TopicSettings(DEAD, 1, "dead-letters"),
            ]
        )
        self.start = StartPolicy(GROUP, dict.fromkeys(inputs, "earliest"), [OUTPUT])
        self.limit = BadRecordLimit()
        self.code_limits: dict[Code, BadRecordLimit] = {}
        self.current: Process | None = None
        self.processes: list[Process] = []
        self.new_tables: Callable[[Monitor], FollowedTables | None] = lambda _: None
        self.co_partitioned: Sequence[Sequence[str]] = ()
        self._fed = 0

    def feed(self, *values: bytes) -> None:
        """Write inputs, each numbered and with one of five keys."""
        for value in values:
            self._fed += 1
            self.broker.append(INPUT, b"%s#%d" % (value, self._fed), key=b"k%d" % (self._fed % 5))

    def around(self, source: MemorySource) -> RecordSource:
        """What a process reads with: the member itself here."""
        return source

    def readable(self) -> Sequence[RawRecord]:
        """The records that a group can read, from the first on."""
        return self.broker.visible(INPUT)

    def stores(self, process: Process) -> Stores:
        """The stores of a process: none here."""
        return Stores()

    def ended(self, process: Process) -> None:
        """What the kernel does with the files of a process that is gone."""

    def checkpoints(self, stores: Stores) -> Checkpoints | None:
        """Where the stores' checkpoints go: nowhere here."""
        return None

    def task(self, stores: Stores) -> EchoTask:
        """What a process does with records."""
        return EchoTask()

    def tasks(self, task: EchoTask) -> Mapping[str, Task]:
        """The task of each topic."""
        return dict.fromkeys(self.inputs, task)

    def process(
        self,
        instance: str = "one",
        *,
        interval_s: float = 0.1,
        poll_size: int = 10_000,
        outage_limit_s: float = 300.0,
        max_records: int = 200_000,
    ) -> Process:
        policy = CommitPolicy(interval_s=interval_s, max_records=max_records)
        settings = LoopSettings(policy, poll_size=poll_size, outage_limit_s=outage_limit_s)
        found = Process(self, instance, settings)
        self.processes.append(found)
        return found

    def kill_current(self) -> None:
        """A fault: the process that makes this call dies in it."""
        assert self.current is not None
        self.current.kill()
        raise KilledError

    def committed(self, topic: str) -> list[RawRecord]:
        """What a reader sees once no open transaction lies before it."""
        return [record for log in self.broker.topic(topic).logs for record in log.committed()]

    def outputs(self) -> list[bytes]:
        return [record.value or b"" for record in self.committed(OUTPUT)]

    def positions(self) -> Positions:
        return self.topics.group_offsets(GROUP, INPUT)

    def check(self) -> None:
        """What is committed is exactly what the positions say: no more, no less, nothing twice."""
        positions = self.positions()
        read = [
            record
            for record in self.readable()
            if record.offset < positions.get(record.partition, 0)
        ]
        values = [record.value or b"" for record in read]
        wanted = [v for v in values if not v.startswith((b"bad", b"drop", b"kill"))]
        assert Counter(self.outputs()) == Counter(b"out:" + value for value in wanted)
        bad = {
            (r.partition.topic, r.partition.index, r.offset)
            for r in read
            if (r.value or b"").startswith((b"bad", b"kill"))
        }
        found = [source_position(letter.headers) for letter in self.committed(DEAD)]
        assert Counter(found) == Counter(bad)
        self._check_order()

    def _check_order(self) -> None:
        by_key: defaultdict[bytes | None, list[int]] = defaultdict(list)
        for record in self.committed(OUTPUT):
            by_key[record.key].append(int((record.value or b"").rpartition(b"#")[2]))
        assert all(numbers == sorted(numbers) for numbers in by_key.values())

    def check_complete(self) -> None:
        """Everything fed is through, and no log is stuck."""
        self.check()
        assert self.positions() == self.topics.ends(INPUT)
        for topic in (OUTPUT, DEAD):
            assert self.topics.ends(topic) == self.topics.high_watermarks(topic)


@pytest.fixture
def new_world() -> Callable[[], World]:
    """Makes worlds; a property test wants a new one for every example."""
    return World


@pytest.fixture
def world() -> World:
    """One world."""
    return World()
