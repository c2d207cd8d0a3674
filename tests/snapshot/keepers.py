"""The role in a process of its own: it takes, announces and keeps up, and is killed at that."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

from pyiceberg.catalog.sql import SqlCatalog
from tests.snapshot import processes
from tests.snapshot.formats import CLASSES
from tests.snapshot.lake import SCHEMA_ID, SCHEMAS, TOPIC, codec
from tests.snapshot.writers import (
    ANYWHERE,
    COMMIT_ROWS,
    CONTEXT,
    READ_RECORDS,
    Death,
    Orders,
    Place,
    Trap,
    When,
)

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg import records as iceberg_records
from headwater.adapters.memory import (
    MemoryBroker,
    MemoryRangeReader,
    MemoryTopics,
    MemoryTransactionalLog,
)
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.adapters.parquet import manifest
from headwater.assembly.announcing import Announcer
from headwater.assembly.snapshot_schedule import Schedule, Told
from headwater.clock import ManualClock
from headwater.contract import Contract, Decoder
from headwater.errors import DamagedError, HeadwaterError
from headwater.model import Partition
from headwater.ports import CommitOutcome, CommitRecord, Table
from headwater.snapshot import writer
from headwater.snapshot.days import ClosedDays
from headwater.snapshot.notices import TOPIC as NOTICES
from headwater.snapshot.notices import notice_contract
from headwater.snapshot.upkeep import Upkeep, Upkept
from headwater.snapshot.writer import Progress, Taken

DAY_MS: Final = 86_400_000
DAYS_LATER: Final = 3  # by the clock of an upkeep: whatever is not needed is old enough to go
ENDS_S: Final = 300.0  # of one turn, on a machine with ten times the work it can do
TARGET: Final = 10_600  # bytes: the files of a round are merged, those of some rounds no more

IN_TIME: Final = "at any time"
ADDING: Final = (
    "before the notice",
    "behind the notice",
    "behind the merged files",
    "before the entry",
    "behind the entry",
    "behind the merge",
)
REMOVING: Final = (
    "within letting go",
    "behind letting go",
    "before files go",
    "before a file goes",
    "behind a file that went",
    "behind files that went",
)
POINTS: Final = ADDING + REMOVING

WITHIN_LETTING_GO: Final = {
    "delta": (DirectoryFiles, "put"),  # the checkpoint is there, the hint that names it is not
    "iceberg": (iceberg_records, "put_records"),  # records are written, snapshots not expired
    "parquet": (manifest, "expire"),  # one manifest is cut down, others are not
}
BEHIND_LETTING_GO: Final = {"delta": "checkpoint", "iceberg": "expire", "parquet": "sweep"}


CONTEXT.set_forkserver_preload([__name__])


class NoticeFile(MemoryTransactionalLog):
    """A topic of notices that outlives the process: a commit is the moment a file gets its name."""

    def __init__(self, broker: MemoryBroker, file: Path) -> None:
        super().__init__(broker, transactional_id=f"{TOPIC}.snapshots")
        self._kept = broker
        self._file = file

    def commit(self) -> CommitOutcome:
        outcome = super().commit()
        log = self._kept.partition(Partition(NOTICES, 0))
        lines = [json.dumps([_hex(each.key), _hex(each.value)]) for each in log.committed()]
        draft = self._file.with_suffix(".draft")
        draft.write_text("\n".join(lines))
        os.replace(draft, self._file)  # noqa: PTH105  # the name by which a trap is set
        return outcome


def _hex(content: bytes | None) -> str | None:
    return None if content is None else content.hex()


@dataclass(frozen=True, slots=True)
class Office:
    """The snapshots of one topic, as the role takes, announces and keeps them up.

    Versions are kept for so many days; at each step somebody may set a trap.
    """

    orders: Orders
    keep_days: int
    begin: Callable[[str], None] = lambda _step: None

    @property
    def product(self) -> str:
        """Of the same name as its topic."""
        return TOPIC

    @property
    def contracts(self) -> Mapping[str, Contract]:
        """One output."""
        return {TOPIC: SCHEMAS[SCHEMA_ID]}

    @property
    def directory(self) -> Path:
        """Of the table."""
        assert isinstance(self.orders.directory, Path)
        return self.orders.directory

    @property
    def notice_file(self) -> Path:
        """Where notices are kept."""
        return self.directory.with_suffix(".notices")

    def take(self, topic: str, progress: Progress) -> Taken:
        """In several commits, as of a log that is much longer."""
        with (
            mock.patch.object(writer, "COMMIT_ROWS", COMMIT_ROWS),
            mock.patch.object(writer, "READ_RECORDS", READ_RECORDS),
        ):
            return processes.take(self.orders, codec(SCHEMA_ID), clock=ManualClock(at_s=100))

    def announce(self, topic: str) -> int:
        """To the file of notices."""
        broker, registry = MemoryBroker(), MemoryRegistry()
        broker.topics[TOPIC] = self.orders.broker.topics[TOPIC]
        announcer = Announcer(
            MemoryTopics(broker),
            registry,
            MemoryRangeReader(broker),
            lambda: NoticeFile(broker, self.notice_file),
            is_creating=True,
        )
        announcer._prepare()
        for key, value in self._notices():
            broker.append(NOTICES, value, key=key)
        self.begin("announce")
        if self._notices():  # whose schema the registry knew then
            registry.register(f"{NOTICES}-value", notice_contract().text, compatibility="NONE")
        return announcer.announce(TOPIC, TOPIC, self.orders.table(), self.orders.format)

    def keep_up(self, topic: str, beat: Callable[[], object]) -> Upkept | None:
        """Due or not, some days later."""
        self.begin("keep up")
        return self.upkeep(self.orders.table()).run()

    def upkeep(self, table: Table) -> Upkeep:
        """Of this table."""
        clock = ManualClock(at_s=time.time() + DAYS_LATER * DAY_MS / 1_000)
        return Upkeep(table, TARGET, self.keep_days * DAY_MS, clock)

    def storage(self, topic: str) -> tuple[int, int]:
        """Of no interest here."""
        return 0, 0

    def open_letters(self, progress: Progress) -> int:
        """None."""
        return 0

    def days(self, topic: str) -> ClosedDays:
        """Of no mode that closes them."""
        raise NotImplementedError  # no commit here closes days

    def verify(self, topic: str, progress: Progress, *, full: bool) -> Any:
        """Not by the role here."""
        raise NotImplementedError  # no schedule here verifies

    def announced(self) -> list[int]:
        """The table version of each notice, oldest first."""
        registry = MemoryRegistry()
        registry.register(f"{NOTICES}-value", notice_contract().text, compatibility="NONE")
        values = [value for _, value in self._notices()]
        decoded = Decoder(notice_contract(), registry.schema).decode(values)
        return [int(each["version"]) for each in decoded.frame.iter_rows(named=True)]

    def _notices(self) -> list[tuple[bytes, bytes]]:
        if not self.notice_file.exists():
            return []
        lines = map(json.loads, self.notice_file.read_text().splitlines())
        return [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in lines]

    def committed(self) -> list[int]:
        """The table version of each commit, oldest first."""
        return [version for version, _ in self.orders.table().commits()]

    def whole(self, versions: Collection[int]) -> list[int]:
        """Those of these versions that can be read; each has the very rows of its cut."""
        table, published = self.orders.table(), self.orders.published()
        ends: dict[int, int] = {}
        commits = dict(table.commits())
        kept = []
        for version in range(1, max(versions) + 1):
            if isinstance(record := commits.get(version), CommitRecord):
                ends.update({taken.partition: taken.end for taken in record.ranges})
            if version in versions and (stored := _stored(table, version)) is not None:
                assert stored == [each for each in published if each[1] < ends.get(each[0], 0)]
                kept.append(version)
        return kept


def _stored(table: Table, version: int) -> list[Place] | None:
    """The rows of a version; None where it is not kept."""
    try:
        files = table.files(version)
    except DamagedError as error:
        if error.code == "FILE_GONE":
            return None
        raise
    return sorted(
        place
        for file in files
        for batch in table.scan(file.name)
        for place in zip(batch["_partition"].to_pylist(), batch["_offset"].to_pylist(), strict=True)
    )


def _where(point: str, format_: str) -> tuple[Any, str, When]:
    """The function by whose calls a process comes to a point."""
    table = CLASSES[format_]
    module = sys.modules[table.__module__]
    sweeping = sys.modules[vars(module)["sweep"].__module__]
    entry: tuple[Any, str] = (SqlCatalog, "commit_table") if format_ == "iceberg" else (os, "link")
    places: dict[str, tuple[Any, str, When]] = {
        "before the notice": (Announcer, "announce", "before"),
        "behind the notice": (os, "replace", "behind"),
        "behind the merged files": (module, "write_files", "behind"),
        "before the entry": (*entry, "before"),
        "behind the entry": (*entry, "behind"),
        "behind the merge": (table, "commit", "behind"),
        "within letting go": (*WITHIN_LETTING_GO[format_], "behind"),
        "behind letting go": (module, BEHIND_LETTING_GO[format_], "behind"),
        "before files go": (sweeping, "remove", "before"),
        "before a file goes": (DirectoryFiles, "delete", "before"),
        "behind a file that went": (DirectoryFiles, "delete", "behind"),
        "behind files that went": (sweeping, "remove", "behind"),
    }
    return places[point]


def _set_trap(death: Death, orders: Orders) -> None:
    """Prepare the death of this process, from here on."""
    trap = Trap(death.reached)
    if death.point == ANYWHERE:
        assert isinstance(orders.directory, Path)
        trap.watch(orders.directory)
    else:
        trap.wrap(*_where(death.point, orders.format))


def _turn(orders: int, directory: Path, format_: str, keep_days: int, death: Death | None) -> None:
    found = Orders(directory, format_, orders)
    is_notice = death is not None and "notice" in death.point

    def begin(step: str) -> None:
        if death is not None and death.point != IN_TIME and is_notice == (step == "announce"):
            _set_trap(death, found)

    def fail(error: HeadwaterError) -> None:
        raise AssertionError(error.code) from error

    told = Told(lambda _topic, _taken: None, lambda _topic, _done: None, fail)
    Schedule(Office(found, keep_days, begin), 1.0, told).turn()


def turn(
    orders: Orders, keep_days: int, death: Death | None = None, within_s: float = ENDS_S
) -> bool:
    """A turn of the role in a process of its own; whether that lived to its end.

    With a death in time it is killed after so many seconds, wherever it is.
    """
    given = (orders.orders, orders.directory, orders.format, keep_days, death)
    process = CONTEXT.Process(target=_turn, args=given)
    process.start()
    process.join(within_s)
    if process.exitcode is None:
        assert death is not None, "it takes too long"
        assert death.point == IN_TIME, "it takes too long"
        process.kill()
        process.join()
    assert process.exitcode in {0, -signal.SIGKILL}, f"it ended with {process.exitcode}"
    return process.exitcode == 0
