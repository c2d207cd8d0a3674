"""Co-partitioned tables over the broker in memory: held for the tasks of a process, no others."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from tests.engine.conftest import INPUT, EchoTask, World
from tests.engine.test_exactly_once import run_histories
from tests.engine.test_tables import SCHEMA_ID, SCHEMAS, TABLE, framed

from headwater.adapters.memory import MemoryFollower
from headwater.contract import Decoder, KeyReader, parse_contract
from headwater.engine import (
    BadRecordLimit,
    BadRecordWindow,
    FollowedTable,
    FollowedTables,
    Stores,
    TableTask,
    Work,
    tables,
)
from headwater.errors import OutageError, UnavailableError
from headwater.flow import FOUND, TASK, TableRows
from headwater.model import Quarantine, SchemaRef
from headwater.ports import Monitor, Records, TopicSettings

NEWEST = 9  # so many times a key is written anew, before the first event


class JoinTask(EchoTask):
    """Looks each record up under its key: it finds a row at least as new as the first events."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = TableRows("id", {"id": pl.String(), "seats": pl.Int32()}, by_task=True)
        self.looked_up = 0

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        written = records.keys()
        keys = pl.Series([(key or b"").decode() for key in written], dtype=pl.String)
        found = self.rows.find(keys, pl.Series(records.partitions(), dtype=pl.Int32))
        assert found[FOUND].all()
        assert (found["seats"] >= NEWEST).all()
        self.looked_up += len(records)
        return super().process(records, guilty)

    def tasks(self) -> set[int]:
        """Those of which there are rows."""
        return set(self.rows.frame()[TASK])


class JoiningWorld(World):
    """The table has some rows of each key, rising up to NEWEST; each record brings another."""

    def __init__(self) -> None:
        super().__init__()
        self.topics.create([TopicSettings(TABLE, 3, "table")])
        self.follower = MemoryFollower(self.broker)
        self._rows = TableRows("id", {"id": pl.String()})
        self.away = 0  # times the registry does not answer
        for number in range(5 * (NEWEST + 1)):
            self.put(number % 5, number // 5)

    def put(self, key: int, seats: int) -> None:
        self.broker.append(TABLE, framed(f"k{key}", seats), key=b"k%d" % key)

    def task(self, stores: Stores) -> JoinTask:
        made = JoinTask()
        self._rows = made.rows
        self.new_tables = self._tables
        return made

    def _tables(self, monitor: Monitor) -> FollowedTables:
        contract = parse_contract(SCHEMAS[SCHEMA_ID], topic=TABLE, version=1, path=Path("v1.avsc"))
        task = TableTask(
            Decoder(contract, self._schema),
            KeyReader(contract, self._schema),
            self._rows,
        )
        self.follower = MemoryFollower(self.broker)
        window = BadRecordWindow(BadRecordLimit())
        held = {TABLE: FollowedTable(task, window, frozenset({INPUT}))}
        return FollowedTables(self.follower, held, self.topics, monitor, self.broker.clock)

    def _schema(self, reference: SchemaRef) -> str:
        if self.away:
            self.away -= 1
            raise UnavailableError("the registry does not answer")
        return SCHEMAS[reference]

    def feed(self, *values: bytes) -> None:
        for value in values:
            self.put((self._fed + 1) % 5, NEWEST + self._fed)
            super().feed(value)


@pytest.mark.timeout(120)
def test_in_every_history_a_record_finds_the_row_of_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kills, zombies, rebalances and outages in any order, and a table that comes in trickles."""
    monkeypatch.setattr(tables, "READ_AT_ONCE", 3)
    run_histories(JoiningWorld, examples=20, steps=30)


def test_the_partitions_of_the_tasks_are_held_and_no_others() -> None:
    """Of two processes each holds its share, and who is left alone all of it."""
    world = JoiningWorld()
    world.feed(*[b"a"] * 30)
    one = world.process("one", poll_size=3).begin()
    for _ in range(12):
        one.step()
    assert isinstance(one.task, JoinTask)
    assert one.task.tasks() == {p.index for p in one.source.assignment()} == {0, 1, 2}
    two = world.process("two", poll_size=3).begin()
    for _ in range(20):
        one.step()
        two.step()
    world.feed(*[b"b"] * 30)
    for _ in range(20):
        one.step()
        two.step()
    held = [{p.index for p in each.source.assignment()} for each in (one, two)]
    assert isinstance(two.task, JoinTask)
    assert [one.task.tasks(), two.task.tasks()] == held
    assert held[0] | held[1] == {0, 1, 2}
    assert not held[0] & held[1]
    assert two.monitor.standings[-1][0].left == 0
    assert one.task.looked_up + two.task.looked_up >= 60
    world.check_complete()


def test_what_stays_is_not_read_anew() -> None:
    """A rebalance costs what moved: a partition that is held is followed through it."""
    world = JoiningWorld()
    world.feed(*[b"a"] * 300)
    one = world.process("one").begin()
    for _ in range(10):
        one.step()
    before = one.monitor.standings[0][0].left
    assert before == 350
    del one.monitor.standings[:]
    two = world.process("two").begin()
    for _ in range(20):
        one.step()
        two.step()
    two.stop()
    del one.monitor.standings[:]
    world.broker.group("product").members.pop("two", None)
    world.broker.group("product").rebalance()
    for _ in range(20):
        one.step()
    assert isinstance(one.task, JoinTask)
    assert one.task.tasks() == {0, 1, 2}
    assert 0 < max(standing[0].left for standing in one.monitor.standings) < before


def test_a_table_of_which_nothing_comes_is_no_endless_wait() -> None:
    """The membership is kept meanwhile; then the product ends and says which table it is."""
    world = JoiningWorld()
    world.feed(b"a")
    process = world.process().begin()
    world.follower.pause()
    for _ in range(5000):
        if process.is_running:
            process.step()
    assert isinstance(process.ended, OutageError)
    assert TABLE in str(process.ended)
    assert world.outputs() == []


def test_a_registry_that_is_away_while_partitions_are_read_is_waited_for() -> None:
    """No event is looked up before, and nothing of the table is lost."""
    world = JoiningWorld()
    world.feed(*[b"a"] * 30)
    world.away = 5
    process = world.process()
    process.run()
    assert process.ended is None
    assert "the registry does not answer" in process.monitor.reasons
    assert isinstance(process.task, JoinTask)
    assert process.task.rows.keys == 5
    world.check_complete()
