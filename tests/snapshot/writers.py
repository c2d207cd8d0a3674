"""Writers of snapshots in processes of their own: killed at a point of their work, or racing.

Nothing of this is in the runtime: what a writer calls is wrapped in the process that is to die.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final, Literal
from unittest import mock

import obstore
import polars as pl
from pyiceberg.catalog.sql import SqlCatalog
from tests.snapshot import processes
from tests.snapshot.formats import CLASSES, FORMATS, in_bucket
from tests.snapshot.lake import SCHEMA_ID, SCHEMAS, TOPIC, codec

from headwater.adapters.memory import MemoryBroker, MemoryRangeReader, MemoryTopics
from headwater.adapters.objects.files import BucketFiles
from headwater.adapters.parquet import files as parquet_files
from headwater.clock import ManualClock
from headwater.contract import Encoder
from headwater.errors import OvertakenError
from headwater.ports import Change, CommitRecord, Table, TopicSettings
from headwater.snapshot import writer
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.writer import Progress, Snapshotter

PARTITIONS: Final = 3
COMMIT_ROWS: Final = 40  # so that a round makes several commits
READ_RECORDS: Final = 15
CATALOGUE: Final = "HEADWATER_ICEBERG_CATALOGUE"
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
    """A log of so many orders, the same in every process, and the table of its snapshot.

    That stands in a directory, or in a bucket that the environment leads to.
    """

    directory: Path | str
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
        if isinstance(self.directory, Path):
            return FORMATS[self.format](self.directory, product=TOPIC, topic=TOPIC)
        return in_bucket(self.format, self.directory, TOPIC, os.environ.get(CATALOGUE, ""))

    def take(self, progress: Progress = lambda _done, _total: None) -> int:
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
            .take(progress)
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
    "before the name of a file",
    "behind the files",
    "behind the statistics",
    "before the entry",
    "behind the entry",
    "behind the commit",
)
ANYWHERE: Final = "at a change of files"


def _naming(orders: Orders) -> tuple[Any, str]:
    """Whose function gives a file its name."""
    return (obstore, "put") if isinstance(orders.directory, str) else (os, "rename")


def _entry(orders: Orders) -> tuple[Any, str]:
    """Whose function makes a commit visible."""
    if orders.format.startswith("iceberg"):
        return SqlCatalog, "commit_table"
    return (BucketFiles, "put_if_absent") if isinstance(orders.directory, str) else (os, "link")


def set_trap(death: Death, orders: Orders) -> None:
    """Prepare the death of this process."""
    trap = Trap(death.reached)
    if death.point == ANYWHERE:
        assert isinstance(orders.directory, Path)
        trap.watch(orders.directory)
        return
    table = CLASSES[orders.format.partition(" ")[0]]
    module = sys.modules[table.__module__]
    entry = _entry(orders)
    steps: dict[str, tuple[Any, str, When]] = {
        "before the files": (module, "write_files", "before"),
        "within a file": (parquet_files._Hashed, "write", "behind"),
        "before the name of a file": (*_naming(orders), "before"),
        "behind the files": (module, "write_files", "behind"),
        "behind the statistics": (module, "put_statistics", "behind"),
        "before the entry": (*entry, "before"),
        "behind the entry": (*entry, "behind"),
        "behind the commit": (table, "commit", "behind"),
    }
    trap.wrap(*steps[death.point])


def take_in_short_commits(orders: Orders) -> None:
    """As of a log that is much longer."""
    with (
        mock.patch.object(writer, "COMMIT_ROWS", COMMIT_ROWS),
        mock.patch.object(writer, "READ_RECORDS", READ_RECORDS),
    ):
        orders.take()


def _die_or_live(
    orders: int,
    directory: Path | str,
    format_: str,
    environment: Mapping[str, str],
    death: Death | None,
) -> None:
    os.environ.update(environment)  # the server of all of them may be older
    found = Orders(directory, format_, orders)
    if death is not None:
        set_trap(death, found)
    take_in_short_commits(found)


def stores() -> dict[str, str]:
    """What leads to object stores, and to the catalogue of their tables."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("AWS_") or name == CATALOGUE
    }


def work(orders: Orders, death: Death | None = None) -> bool:
    """Take a snapshot in a process of its own; whether that lived to its end."""
    given = (orders.orders, orders.directory, orders.format, stores(), death)
    (code,) = _ended([CONTEXT.Process(target=_die_or_live, args=given)])
    assert code in {0, -signal.SIGKILL}, f"it ended with {code}"
    return code == 0


def _race(
    orders: int,
    directory: Path | str,
    format_: str,
    environment: Mapping[str, str],
    start: Barrier,
) -> None:
    os.environ.update(environment)
    found = Orders(directory, format_, orders)
    table = CLASSES[format_.partition(" ")[0]]
    commit: Callable[[Any, Change], int] = table.commit

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
    given = (orders.orders, orders.directory, orders.format, stores(), start)
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
