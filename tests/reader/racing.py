"""A writer, an upkeep that lets versions go at once, and readers: each a process of its own."""

import os
import random
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final
from unittest import mock

from tests.reader.opened import KnownSchemas, opened
from tests.reader.shop import Place, assert_each_once, places
from tests.snapshot.keepers import TARGET
from tests.snapshot.lake import SCHEMA_ID, SCHEMAS, lookup
from tests.snapshot.writers import CONTEXT, Orders, take_in_short_commits

from headwater.adapters.iceberg import upkeep as iceberg_upkeep
from headwater.adapters.parquet import reading as parquet_reading
from headwater.errors import ReadRefusedError
from headwater.ports import Table
from headwater.reader.product import Product
from headwater.snapshot.upkeep import Upkeep

KEEP_MS: Final = 50  # after that a version may go while somebody reads it
DAYS_OLD_S: Final = 3 * 86_400.0
TAKEN: Final = 60  # orders between two snapshots: two commits of three partitions
BATCH_ROWS: Final = 16  # so that readers stop in the middle of a file
ENDS_S: Final = 300.0  # on a machine with ten times the work it can do

CONTEXT.set_forkserver_preload([__name__])


def product(orders: Orders) -> Product:
    """As a consumer opens it; its log is whole from the beginning."""
    return opened(orders, lambda: SCHEMAS[SCHEMA_ID], KnownSchemas(lookup))


def _write(directory: Path, format_: str, snapshots: int) -> None:
    for number in range(1, snapshots + 1):
        take_in_short_commits(Orders(directory, format_, TAKEN * number))


def _keep_up(directory: Path, format_: str, _snapshots: int, done: Event) -> None:
    orders = Orders(directory, format_, 0)
    while not done.wait(KEEP_MS / 1_000):
        table = orders.table()
        if table.version() is not None:
            age(directory, table)
            Upkeep(table, TARGET, KEEP_MS).run()


def age(directory: Path, table: Table) -> None:
    """Make what the newest version names look days old; never files of a commit under way."""
    then = time.time() - DAYS_OLD_S
    for path in _named(directory, table):
        os.utime(path, (then, then))


def _named(directory: Path, table: Table) -> Iterator[Path]:
    for file in table.files():
        yield directory / file.name
    theirs: Any = getattr(table, "_table", None)
    if hasattr(theirs, "metadata_location"):
        yield from (Path(each) for each in iceberg_upkeep._named(theirs))


def _read(directory: Path, format_: str, snapshots: int, done: Event, seed: int) -> None:
    chance, orders = random.Random(seed), Orders(directory, format_, TAKEN * snapshots)
    published, reads, gone = orders.published(), 0, 0
    with mock.patch.object(parquet_reading, "BATCH_ROWS", BATCH_ROWS):
        while not (done.is_set() and reads):
            try:
                read = list(_each(product(orders), chance))
            except ReadRefusedError as error:
                if error.code not in {"SNAPSHOT_GONE", "NO_SNAPSHOT"}:
                    raise
                gone += error.code == "SNAPSHOT_GONE"
            else:
                assert_each_once(read, published)
                reads += 1
    _told(directory, seed).write_text(f"{reads} {gone}")


def _each(product: Product, chance: random.Random) -> Iterator[Place]:
    """Where each event stands, by a reader that stops now and then and goes on from its token."""
    reading = product.read(until="now")
    while (frame := next(reading, None)) is not None:
        yield from places(frame)
        if chance.random() < 1 / 3:
            reading.close()
            reading = product.read(reading.token, "now")


def race(directory: Path, format_: str, snapshots: int, readers: int) -> list[tuple[int, int]]:
    """So many snapshots are taken and kept up while others read.

    Of each reader how often it read everything once, and how often its version was gone.
    """
    done = CONTEXT.Event()
    given = (directory / "table", format_, snapshots)
    writer = CONTEXT.Process(target=_write, args=given)
    others = [CONTEXT.Process(target=_keep_up, args=(*given, done))]
    others += [CONTEXT.Process(target=_read, args=(*given, done, seed)) for seed in range(readers)]
    for process in (writer, *others):
        process.start()
    try:
        _join(writer)
    finally:
        done.set()
        for process in others:
            _join(process)
    assert [each.exitcode for each in (writer, *others)] == [0] * (2 + readers)
    told = (_told(given[0], seed).read_text().split() for seed in range(readers))
    return [(int(reads), int(gone)) for reads, gone in told]


def _told(directory: Path, seed: int) -> Path:
    """Where a reader tells what it saw."""
    return directory.with_suffix(f".reader-{seed}")


def _join(process: ForkServerProcess) -> None:
    process.join(ENDS_S)
    if process.exitcode is None:
        process.kill()
        process.join()
