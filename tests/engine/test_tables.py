"""Broadcast tables over the broker in memory: read first, then followed; what is refused."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from headwater.adapters.memory import MemoryFollower, MemoryTransactionalLog
from headwater.contract import Decoder, Encoder, KeyReader, parse_contract
from headwater.engine import (
    BadRecordLimit,
    BadRecordWindow,
    FollowedTable,
    FollowedTables,
    TableTask,
)
from headwater.errors import (
    HaltedError,
    RuleBrokenError,
    TooManyBadRecordsError,
    UnavailableError,
)
from headwater.flow import ROW, TableRows
from headwater.flow.table_rows import FOUND
from headwater.model import Code, OnIncompatible, SchemaRef
from headwater.ports import Monitor, Records, TopicSettings

if TYPE_CHECKING:
    from tests.engine.conftest import World

TABLE = "fleet.planes"
PLANE: dict[str, Any] = {
    "type": "record",
    "name": "Plane",
    "key": "id",
    "doc": "A plane.",
    "owner": "fleet@example.com",
    "fields": [
        {"name": "id", "type": "string", "doc": "Its number."},
        {"name": "seats", "type": "int", "doc": "Seats.", "rule": "seats >= 0"},
    ],
}
SCHEMA_ID, OTHER_ID = 7, 8
OTHER = {**PLANE, "fields": [{"name": "id", "type": "int", "doc": "A number."}]}
SCHEMAS: dict[SchemaRef, str] = {SCHEMA_ID: json.dumps(PLANE), OTHER_ID: json.dumps(OTHER)}


class Held:
    """A world with a table of planes, and what is to be read of it."""

    def __init__(self, world: "World", partitions: int = 2) -> None:
        self.world = world
        world.topics.create([TopicSettings(TABLE, partitions, "table")])
        self.rows = TableRows("id", {"id": pl.String(), "seats": pl.Int32()})
        self.on_incompatible: OnIncompatible = "pause"
        self.limit = BadRecordLimit()
        self.severity = "reject"
        self.inputs: frozenset[str] | None = None
        self.away = 0  # times the registry does not answer
        self.follower = MemoryFollower(world.broker)
        world.new_tables = self.tables

    def tables(self, monitor: Monitor) -> FollowedTables:
        """A new process's: it holds nothing yet."""
        self.rows.clear()
        schema = json.loads(json.dumps(PLANE))
        schema["fields"][1]["rule"] = {"check": "seats >= 0", "severity": self.severity}
        contract = parse_contract(json.dumps(schema), topic=TABLE, version=1, path=Path("v1.avsc"))
        task = TableTask(
            Decoder(contract, self._schema),
            KeyReader(contract, self._schema),
            self.rows,
            on_incompatible=self.on_incompatible,
        )
        self.follower = MemoryFollower(self.world.broker)
        table = FollowedTable(task, BadRecordWindow(self.limit), self.inputs)
        world = self.world
        return FollowedTables(
            self.follower, {TABLE: table}, world.topics, monitor, world.broker.clock
        )

    def _schema(self, reference: SchemaRef) -> str:
        if self.away:
            self.away -= 1
            raise UnavailableError("the registry does not answer")
        return SCHEMAS[reference]

    def put(self, name: str, seats: int | None, *, key: bytes | None = None) -> None:
        """One record; without seats its key ends."""
        value = None if seats is None else framed(name, seats)
        self.world.broker.append(TABLE, value, key=key or name.encode())

    def seats(self, *names: str) -> list[int | None]:
        """What a join finds."""
        found = self.rows.find(pl.Series(names, dtype=pl.String))
        return found["seats"].to_list()


def framed(name: str, seats: int) -> bytes:
    """A plane as its producer writes it."""
    contract = parse_contract(SCHEMAS[SCHEMA_ID], topic=TABLE, version=1, path=Path("v1.avsc"))
    columns = {ROW: [0], "id": [name], "seats": [seats]}
    frame = pl.DataFrame(columns, schema={ROW: pl.UInt32, "id": pl.String, "seats": pl.Int32})
    return Encoder(contract, SCHEMA_ID).encode(frame).values[0]


@pytest.fixture
def held(world: "World") -> Held:
    """A table in the world."""
    return Held(world)


def test_a_table_is_read_to_its_end_before_the_first_event(world: "World", held: Held) -> None:
    """However long it takes: the first batch finds all that stood there at the start."""
    seen: list[int] = []
    for n in range(500):
        held.put(f"N{n % 300}", n)
    world.feed(*[b"a"] * 40)
    process = world.process(poll_size=3)
    _before_each_batch(process.task, lambda: seen.append(held.rows.keys))
    process.run()
    assert process.ended is None
    assert seen[0] == 300
    assert held.seats("N7", "N299", "N300") == [307, 299, None]
    lefts = [standing[0].left for standing in process.monitor.standings]
    assert lefts[0] == 500
    assert lefts[-1] == 0
    world.check_complete()


def _before_each_batch(task: Any, hook: Callable[[], None]) -> None:
    process = task.process

    def hooked(records: Records, guilty: Sequence[Any] = ()) -> Any:
        hook()
        return process(records, guilty)

    task.process = hooked


def test_what_is_written_later_is_taken_in_between_batches(world: "World", held: Held) -> None:
    """New values, and null values that end their key."""
    held.put("N1", 1)
    held.put("N2", 2)
    world.feed(*[b"a"] * 30)
    process = world.process(poll_size=2)

    def write(turn: int) -> None:
        if turn == 2:
            held.put("N1", 10)
            held.put("N2", None)
            held.put("N3", 3)

    process.run(hook=write)
    assert held.seats("N1", "N2", "N3") == [10, None, 3]
    assert held.rows.keys == 2
    world.check_complete()


def test_what_an_open_or_aborted_transaction_wrote_is_not_seen(world: "World", held: Held) -> None:
    """read_committed, and the end as of the start is the last stable offset."""
    held.put("N1", 1)
    log = MemoryTransactionalLog(world.broker, transactional_id="fleet")
    log.initialise()
    log.begin()
    log.produce(TABLE, [b"N1", b"N2"], [framed("N1", 99), framed("N2", 99)])
    world.feed(b"a")
    process = world.process()
    process.run()
    assert process.ended is None
    assert held.seats("N1", "N2") == [1, None]
    log.abort()
    world.feed(b"a")
    world.process().run()
    assert held.seats("N1", "N2") == [1, None]


def test_a_refused_record_leaves_the_row_as_it_was(world: "World", held: Held) -> None:
    """Bad bytes, a broken rule, a key that is not the value's: counted with code and place."""
    held.put("N1", 1)
    world.broker.append(TABLE, b"\x00\x00\x00\x00\x07\xff", key=b"N1")
    held.put("N1", -1)
    held.put("N2", 2, key=b"N1")
    world.feed(b"a")
    process = world.process()
    process.run()
    assert held.seats("N1", "N2") == [1, None]
    codes = sorted(refusal.code for refusal in process.monitor.refusals)
    assert Code.BAD_KEY in codes
    assert Code.CONTRACT_VIOLATION in codes
    assert len(codes) == 3
    assert len({(r.partition, r.offset) for r in process.monitor.refusals}) == 3
    world.check_complete()


def test_too_many_refused_records_stop_the_product(world: "World", held: Held) -> None:
    """Promise 6 holds for a table too, at the start and later; nothing is published."""
    held.limit = BadRecordLimit(share=0.05, window=100, at_least=5)
    for n in range(20):
        held.put(f"N{n}", -1)
    world.feed(b"a")
    process = world.process()
    process.run()
    assert isinstance(process.ended, TooManyBadRecordsError)
    assert TABLE in str(process.ended)
    assert world.outputs() == []


def test_a_rule_that_stops_stops(world: "World", held: Held) -> None:
    """Nothing is published on rows that must not be."""
    held.severity = "stop"
    held.put("N1", -1)
    world.feed(b"a")
    process = world.process()
    process.run()
    assert isinstance(process.ended, RuleBrokenError)
    assert world.outputs() == []


@pytest.mark.parametrize("policy", ["pause", "stop"])
def test_a_schema_that_can_never_be_read_stops_the_product(
    world: "World", held: Held, policy: OnIncompatible
) -> None:
    """A table that stands still goes stale unseen; and every start says so again."""
    held.on_incompatible = policy
    world.broker.append(TABLE, OTHER_ID.to_bytes(5, "big") + b"\x02", key=b"N1")
    world.feed(b"a")
    for _ in range(2):
        process = world.process()
        process.run()
        assert isinstance(process.ended, HaltedError)
        assert process.ended.code == "INCOMPATIBLE_SCHEMA"
    assert world.outputs() == []


def test_such_records_may_be_refused_instead(world: "World", held: Held) -> None:
    """--on-incompatible dead-letter: the row stays as it was, and it is counted."""
    held.on_incompatible = "dead-letter"
    held.put("N1", 1)
    world.broker.append(TABLE, OTHER_ID.to_bytes(5, "big") + b"\x02", key=b"N1")
    world.feed(b"a")
    process = world.process()
    process.run()
    assert held.seats("N1") == [1]
    assert [refusal.code for refusal in process.monitor.refusals] == [Code.INCOMPATIBLE_SCHEMA]
    world.check_complete()


def test_a_registry_that_is_away_is_waited_for_and_nothing_is_lost(
    world: "World", held: Held
) -> None:
    """While the table is read."""
    held.away = 5
    held.put("N1", 1)
    world.feed(b"a")
    process = world.process()
    process.run()
    assert process.ended is None
    assert held.seats("N1") == [1]
    assert process.monitor.reasons[0] == "the registry does not answer"
    world.check_complete()


def test_a_registry_that_is_away_while_the_table_is_followed_is_waited_for(
    world: "World", held: Held
) -> None:
    """The batch in hand is processed after it, and committed once."""
    world.feed(*[b"a"] * 30)
    process = world.process(poll_size=2)

    def write(turn: int) -> None:
        if turn == 3:
            held.away = 5
            held.put("N1", 1)

    process.run(hook=write)
    assert process.ended is None
    assert held.seats("N1") == [1]
    assert "the registry does not answer" in process.monitor.reasons
    world.check_complete()


def test_a_stop_while_a_table_is_read_joins_no_group(world: "World", held: Held) -> None:
    """A start that is broken off takes part in nothing."""
    held.put("N1", 1)
    world.feed(b"a")
    process = world.process()
    process.loop.stop()
    process.run()
    assert process.ended is None
    assert not world.broker.group("product").members
    assert world.outputs() == []


def test_a_table_of_which_nothing_comes_is_no_endless_wait(world: "World", held: Held) -> None:
    """After the limit for outages the product ends, and says which table it waited for."""
    held.put("N1", 1)
    world.feed(b"a")
    process = world.process(outage_limit_s=3.0)
    held.follower.pause()
    process.run()
    assert isinstance(process.ended, UnavailableError)
    assert TABLE in str(process.ended)


def test_a_restarted_process_reads_the_table_anew(world: "World", held: Held) -> None:
    """Nothing of it is kept: the topic is the only truth."""
    held.put("N1", 1)
    world.feed(*[b"a"] * 5)
    world.process().run()
    held.put("N1", None)
    held.put("N2", 2)
    world.feed(b"a")
    world.process().run()
    assert held.seats("N1", "N2") == [None, 2]
    assert held.rows.find(pl.Series(["N1", "N2"]))[FOUND].to_list() == [False, True]
    world.check_complete()


def test_the_last_record_of_a_key_counts_within_a_batch_too(world: "World", held: Held) -> None:
    """A key may end and come back, or the other way round, between two polls."""
    for name, seats in (("N1", 1), ("N1", None), ("N1", 2), ("N2", 1), ("N2", 3), ("N2", None)):
        held.put(name, seats)
    world.feed(b"a")
    world.process().run()
    assert held.seats("N1", "N2") == [2, None]


def test_refused_records_outside_the_window_are_forgotten(world: "World", held: Held) -> None:
    """A few in a long life stop nothing."""
    held.limit = BadRecordLimit(share=0.05, window=20, at_least=3)
    world.feed(*[b"a"] * 200)
    process = world.process(poll_size=2)

    def write(turn: int) -> None:
        if turn % 5 == 0 and turn < 60:
            held.put("N1", -1)
            for n in range(19):
                held.put("N2", n)

    process.run(hook=write)
    assert process.ended is None
    assert len(process.monitor.refusals) > 3
