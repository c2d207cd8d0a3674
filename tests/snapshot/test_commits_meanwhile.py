"""What a table tells of its commits while somebody else commits."""

import threading
from pathlib import Path

import pytest
from tests.snapshot.changes import change
from tests.snapshot.formats import FORMATS
from tests.snapshot.storage import TOPIC, record, rows

from headwater.errors import DamagedError
from headwater.ports import CommitRecord

COMMITS = 40
LONGEST_S = 60.0


@pytest.mark.parametrize("format_", FORMATS)
def test_each_commit_is_told_under_its_own_version(format_: str, tmp_path: Path) -> None:
    """Always, also when the next one lands amid the answer: readers cut the log by it."""
    begun = FORMATS[format_](tmp_path / "table", product=TOPIC, topic=TOPIC)
    begun.commit(change(rows(0, 1), record(0, 1)))

    def write() -> None:
        table = FORMATS[format_](tmp_path / "table", product=TOPIC, topic=TOPIC)
        for start in range(1, COMMITS):
            table.offsets("one")
            table.commit(change(rows(start, start + 1), record(start, start + 1)))

    writer = threading.Thread(target=write)
    reader = FORMATS[format_](tmp_path / "table", product=TOPIC, topic=TOPIC)
    told = set()
    writer.start()
    while writer.is_alive():
        told |= {(version, _end(each)) for version, each in reader.commits()}
    writer.join(LONGEST_S)
    told |= {(version, _end(each)) for version, each in reader.commits()}
    assert sorted(end for _, end in told) == list(range(1, COMMITS + 1))
    assert {version - end for version, end in told} == {min(version for version, _ in told) - 1}


def test_a_delta_log_that_lacks_an_entry_in_its_middle_is_damaged(tmp_path: Path) -> None:
    """A cut would begin where none ended. What is gone before the first entry was cleaned."""
    table = FORMATS["delta"](tmp_path, product=TOPIC, topic=TOPIC)
    for start in range(12):  # a checkpoint on the way, so that the table opens
        table.offsets("one")
        table.commit(change(rows(start, start + 1), record(start, start + 1)))
    for version in range(3):
        (tmp_path / "_delta_log" / f"{version:020}.json").unlink()
    again = FORMATS["delta"](tmp_path, product=TOPIC, topic=TOPIC)
    assert [version for version, _ in again.commits()] == list(range(3, 13))
    (tmp_path / "_delta_log" / f"{5:020}.json").unlink()
    with pytest.raises(DamagedError, match="its log lacks version 5"):
        again.commits()


def _end(told: object) -> int:
    assert isinstance(told, CommitRecord)
    return told.ranges[0].end
