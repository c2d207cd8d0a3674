"""An Iceberg table with its own catalogue, looked at while it begins."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg.catalogue import FILE, open_catalogue
from headwater.adapters.iceberg.table import IcebergSnapshotTable

OPENERS = 4  # more than cores
ROUNDS = 15
LONGEST_S = 60.0


def test_many_may_open_a_catalogue_that_is_just_made(tmp_path: Path) -> None:
    """Each makes its tables if they are not there."""
    together = Barrier(OPENERS, timeout=LONGEST_S)

    def open_each(_opener: int) -> int:
        found = 0
        for number in range(ROUNDS):
            together.wait()
            catalogue = open_catalogue(DirectoryFiles(tmp_path / str(number)))
            found += len(catalogue.list_namespaces())
            catalogue.engine.dispose()
        return found

    with ThreadPoolExecutor(OPENERS) as pool:
        assert list(pool.map(open_each, range(OPENERS))) == [0] * OPENERS


def test_a_catalogue_that_is_being_written_is_no_other_file(tmp_path: Path) -> None:
    """SQLite keeps a journal beside it then; until it is done there is no table."""
    open_catalogue(DirectoryFiles(tmp_path)).engine.dispose()
    writer = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("CREATE TABLE amid (id INTEGER)")
    assert len(list(tmp_path.iterdir())) == 2
    assert IcebergSnapshotTable(DirectoryFiles(tmp_path), product=TOPIC, topic=TOPIC).rows() == 0
    writer.execute("ROLLBACK")
    writer.close()
    table = IcebergSnapshotTable(DirectoryFiles(tmp_path), product=TOPIC, topic=TOPIC)
    table.commit(change(rows(0, 3), record(0, 3)))
    assert table.rows() == 3
