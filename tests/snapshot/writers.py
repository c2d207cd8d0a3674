"""Writers of snapshots in processes of their own: killed at a point of their work, or racing.

Nothing of this is in the runtime: what a writer calls is wrapped in the process that is to die.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final, Literal
from unittest import mock

import polars as pl
from pyiceberg.catalog.sql import SqlCatalog
from tests.snapshot import processes
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import SCHEMA_ID, SCHEMAS, TOPIC, codec

from headwater.adapters.memory import MemoryBroker, MemoryRangeReader, MemoryTopics
from headwater.adapters.parquet import files as parquet_files
from headwater.clock import ManualClock
from headwater.contract import Encoder
from headwater.errors import OvertakenError
from headwater.ports import Change, CommitRecord, Table, TopicSettings
from headwater.snapshot import writer
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.writer import Snapshotter

PARTITIONS: Final = 3
COMMIT_ROWS: Final = 40  # so that a round makes several commits
READ_RECORDS: Final = 15
LONGEST_S: Final = 60.0  # of one process, on a crowded machine
WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OPERATIONS: Final = frozenset({"os.link", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree"})

When = Literal["before", "behind"]
Place = tuple[int, int]
"""Partition and offset."""

# The children of a server that has imported everything begin in milliseconds.
CONTEXT: Final = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


@dataclass
class Orders:
    """A log of so many orders, the same in every process, and the table of its snapshot on disk."""

    directory: Path
    format: str
    orders: int
    broker: MemoryBroker = field(default_factory=MemoryBroker)

    def __post_init__(self) -> None:
        self.broker.create(TopicSettings(TOPIC, PARTITIONS, "log", {"cleanup.policy": "delete"}))
        numbers = range(self.orders)
        rows = pl.DataFrame(
            {"id": [f"order-{n}" for n in numbers], "amount": [n / 4 for n in numbers]}
        )
        encoded = Encoder(SCHEMAS[SCHEMA_ID], SCHEMA_ID).encode(rows.with_row_index("_row"))
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            self.broker.append(TOPIC, value, key=key)

    def table(self) -> Table:
        """A new handle."""
        return FORMATS[self.format](self.directory, product=TOPIC, topic=TOPIC)

    def take(self) -> int:
        """Take a snapshot; its commits."""
        return (
            Snapshotter(
                product=TOPIC,
                topic=TOPIC,
                topics=MemoryTopics(self.broker),
                reader=MemoryRangeReader(self.broker),
                table=self.table(),
                codec=codec(SCHEMA_ID),
                clock=ManualClock(at_s=100),
            )
            .take()
            .commits
        )

    def verify(self) -> Verdict:
        """Verify it."""
        return processes.verifier(self, TOPIC, codec).verify()

    def published(self) -> list[Place]:
        """Where every order stands."""
        return sorted((e.partition.index, e.offset) for e in self.broker.visible(TOPIC))

    def taken(self) -> list[Place]:
        """Where every row of the table does."""
        table = self.table()
        return sorted(
            (row["_partition"], row["_offset"])
            for file in table.files()
            for batch in table.scan(file.name)
            for row in batch.to_pylist()
        )

    def ends(self) -> dict[int, int]:
        """Where the table ends; every commit begins where the one before ended."""
        ends = dict.fromkeys(range(PARTITIONS), 0)
        for _, record in self.table().commits():
            assert isinstance(record, CommitRecord)
            for taken in record.ranges:
                assert taken.start == ends[taken.partition], "ranges have a gap or overlap"
                ends[taken.partition] = taken.end
        return ends


@dataclass(frozen=True, slots=True)
class Death:
    """Where a process is to die: the n-th time it comes to a point."""

    point: str
    reached: int = 1


class Trap:
    """Kills this process."""

    def __init__(self, reached: int) -> None:
        self._left = reached

    def reach(self) -> None:
        """One more time."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, owner: Any, name: str, when: When) -> None:
        """Come to a point before or behind each call of a function."""
        function: Callable[..., Any] = getattr(owner, name)

        def wrapped(*given: Any, **named: Any) -> Any:
            if when == "before":
                self.reach()
            result = function(*given, **named)
            if when == "behind":
                self.reach()
            return result

        setattr(owner, name, wrapped)

    def watch(self, directory: Path) -> None:
        """Come to a point before each operation of Python that changes files below a directory."""

        def hook(event: str, given: tuple[Any, ...]) -> None:
            if event in OPERATIONS or (event == "open" and given[2] & WRITES):
                paths = [each for each in given if isinstance(each, (str, Path))]
                if any(str(each).startswith(str(directory)) for each in paths):
                    self.reach()

        sys.addaudithook(hook)


POINTS: Final = (
    "before the files",
    "within a file",
    "behind the files",
    "behind the statistics",
    "before the entry",
    "behind the entry",
    "behind the commit",
)
ANYWHERE: Final = "at a change of files"


def set_trap(death: Death, orders: Orders) -> None:
    """Prepare the death of this process."""
    trap = Trap(death.reached)
    table = FORMATS[orders.format]
    module = sys.modules[table.__module__]
    owner: Any = SqlCatalog if orders.format == "iceberg" else os
    entry = "commit_table" if orders.format == "iceberg" else "link"
    match death.point:
        case "before the files":
            trap.wrap(module, "write_files", "before")
        case "within a file":
            trap.wrap(parquet_files._Hashed, "write", "behind")
        case "behind the files":
            trap.wrap(module, "write_files", "behind")
        case "behind the statistics":
            trap.wrap(module, "put_statistics", "behind")
        case "before the entry":
            trap.wrap(owner, entry, "before")
        case "behind the entry":
            trap.wrap(owner, entry, "behind")
        case "behind the commit":
            trap.wrap(table, "commit", "behind")
        case _:
            trap.watch(orders.directory)


def take_in_short_commits(orders: Orders) -> None:
    """As of a log that is much longer."""
    with (
        mock.patch.object(writer, "COMMIT_ROWS", COMMIT_ROWS),
        mock.patch.object(writer, "READ_RECORDS", READ_RECORDS),
    ):
        orders.take()


def _die_or_live(orders: int, directory: Path, format_: str, death: Death | None) -> None:
    found = Orders(directory, format_, orders)
    if death is not None:
        set_trap(death, found)
    take_in_short_commits(found)


def work(orders: Orders, death: Death | None = None) -> bool:
    """Take a snapshot in a process of its own; whether that lived to its end."""
    given = (orders.orders, orders.directory, orders.format, death)
    (code,) = _ended([CONTEXT.Process(target=_die_or_live, args=given)])
    assert code in {0, -signal.SIGKILL}, f"it ended with {code}"
    return code == 0


def _race(orders: int, directory: Path, format_: str, start: Barrier) -> None:
    found = Orders(directory, format_, orders)
    table = FORMATS[format_]
    commit: Callable[[Any, Change], int] = table.commit  # type: ignore[attr-defined]  # a class

    def together(self: Any, change: Change) -> int:
        setattr(table, "commit", commit)  # noqa: B010 - of a class, which mypy takes for a function
        start.wait(LONGEST_S)
        return commit(self, change)

    setattr(table, "commit", together)  # noqa: B010 - likewise
    try:
        found.take()
    except OvertakenError as error:
        sys.exit(error.exit_code)


def race(orders: Orders, writers: int) -> list[int]:
    """The exit codes of so many processes that are about to commit the same range at once."""
    start = CONTEXT.Barrier(writers)
    given = (orders.orders, orders.directory, orders.format, start)
    return sorted(_ended([CONTEXT.Process(target=_race, args=given) for _ in range(writers)]))


def _ended(processes: list[ForkServerProcess]) -> list[int]:
    """Run them to their ends; their exit codes."""
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONGEST_S)
        if process.exitcode is None:
            process.kill()
            process.join()
    return [process.exitcode or 0 for process in processes]
