"""The loop with state on a real disk, damaged or shared; and a changelog nobody can read."""

from pathlib import Path

import pytest
from tests.engine.conftest import Process
from tests.engine.counting import CHANGELOG, CountingWorld

from headwater.adapters.memory.storage import Content
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.errors import FencedError, StartRefusedError
from headwater.model import Partition
from headwater.ports import LocalStores


class DiskWorld(CountingWorld):
    """Every instance keeps its state in RocksDB, in a directory of its name."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def new_disk(self, instance: str) -> LocalStores:
        return RocksDbStores(self._folder / instance, RocksDbMemory(8 << 20))


@pytest.fixture
def disks(tmp_path: Path) -> DiskWorld:
    """A world with disks below the test's folder."""
    return DiskWorld(tmp_path)


def run(world: CountingWorld, name: str = "one") -> Process:
    """One process from start to end; the next of its name finds its disk."""
    world.broker.group("product").members.clear()
    process = world.process(name, poll_size=3)
    process.run()
    process.ended = process.ended or "stopped"
    return process


def test_a_flipped_byte_is_found_and_the_task_made_anew(disks: DiskWorld, tmp_path: Path) -> None:
    """RocksDB's checksums tell; the transaction is aborted, the changelog read, nothing shows."""
    disks.feed(*[b"a"] * 30)
    run(disks)
    for task in range(3):
        disks.disks["one"].open(task).close()  # what is in its write-ahead log goes to a file
        for file in (tmp_path / "one" / str(task)).glob("rocksdb/*.sst"):
            content = bytearray(file.read_bytes())
            content[10] ^= 0xFF
            file.write_bytes(content)
    disks.feed(*[b"b"] * 10)
    process = run(disks)
    disks.check_complete()
    assert sum(each.read + each.loaded for each in process.monitor.restores[-1]) > 0


def test_two_processes_on_one_directory_are_one_too_many(disks: DiskWorld, tmp_path: Path) -> None:
    """The second waits as long as a hand-over takes, and is exit 75 then."""
    disks.feed(*[b"a"] * 10)
    run(disks)
    held = RocksDbStores(tmp_path / "one", RocksDbMemory(8 << 20)).open(1)
    disks.feed(*[b"a"] * 10)
    began_s = disks.broker.clock.monotonic()
    ended = run(disks).ended
    assert isinstance(ended, FencedError)
    assert (ended.code, ended.exit_code) == ("STATE_IN_USE", 75)
    assert disks.broker.clock.monotonic() - began_s > 30
    held.close()
    run(disks)
    disks.check_complete()


@pytest.mark.parametrize(
    ("value", "code"),
    [(b"\x01" + bytes(9), "STATE_FORMAT"), (b"\x00abcd" + bytes(5), "STATE_COLUMNS")],
    ids=["of a later release", "of other columns"],
)
def test_a_changelog_of_another_release_is_refused_at_the_start(value: bytes, code: str) -> None:
    """Before the first record, with exit 78: it is neither damage nor to be guessed at."""
    world = CountingWorld()
    world.feed(*[b"a"] * 30)
    run(world)
    log = world.broker.partition(Partition(CHANGELOG, 1))
    log.append(Content(b"key", value, ()), world.broker.clock.wall_ms(), None)
    world.feed(*[b"a"] * 5)
    process = run(world, "two")
    assert isinstance(process.ended, StartRefusedError)
    assert (process.ended.code, process.ended.exit_code) == (code, 78)
    assert not process.monitor.read
