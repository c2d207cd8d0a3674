"""The laws of a local store, which RocksDB and the one in memory obey alike."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from tests.state.stores import KINDS, mark

from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.errors import FatalError, RebuildError, RetriableError, StateInUseError
from headwater.ports import LocalStore, LocalStores


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> LocalStores:
    """The stores of a step, in memory and on disk."""
    return KINDS[request.param](tmp_path)


@pytest.fixture
def store(stores: LocalStores) -> Iterator[LocalStore]:
    """The store of task 3."""
    opened = stores.open(3)
    yield opened
    opened.close()


@pytest.fixture
def on_disk(tmp_path: Path) -> RocksDbStores:
    """Stores whose files can be damaged."""
    return RocksDbStores(tmp_path, RocksDbMemory(8 << 20))


def test_values_come_in_the_order_of_the_keys(store: LocalStore) -> None:
    """Each key as often as it is asked for, None where there is nothing."""
    store.write([b"", b"a", b"b"], [b"empty key", b"", b"\0\xff"])
    assert store.get([b"b", b"x", b"", b"b", b"a"]) == [
        b"\0\xff",
        None,
        b"empty key",
        b"\0\xff",
        b"",
    ]
    assert store.get([]) == []


def test_a_write_replaces_and_deletes(store: LocalStore) -> None:
    """None deletes, what was not there too."""
    store.write([b"a", b"b"], [b"1", b"2"])
    store.write([b"a", b"b", b"c"], [b"3", None, None])
    assert store.get([b"a", b"b", b"c"]) == [b"3", None, None]
    assert store.scan(b"", 10) == ([b"a"], [b"3"])


def test_the_mark_is_that_of_the_last_write_with_one(store: LocalStore) -> None:
    """None before the first; a write without a mark leaves it; a mark needs no entries."""
    assert store.mark() is None
    store.write([b"a"], [b"1"])
    assert store.mark() is None
    store.write([b"b"], [b"2"], mark(5))
    store.write([b"c"], [b"3"])
    assert store.mark() == mark(5)
    store.write([], [], mark(9))
    assert store.mark() == mark(9)


def test_a_scan_comes_in_slices_by_the_bytes_of_the_keys(store: LocalStore) -> None:
    """Ascending as unsigned bytes, from the start on, never the mark."""
    keys = sorted({Random(n).randbytes(n % 5) for n in range(400)} | {b"mark", b"\xff" * 9})
    store.write(keys, keys, mark(1))
    assert store.scan(b"", 10_000) == (keys, keys)
    assert store.scan(keys[7], 3) == (keys[7:10], keys[7:10])
    assert store.scan(keys[7] + b"\0", 3)[0] == keys[8:11]
    assert store.scan(b"\xff" * 10, 3) == ([], [])


def test_what_was_written_is_there_when_the_store_is_opened_again(stores: LocalStores) -> None:
    """Entries and mark, and those of one task alone."""
    first = stores.open(0)
    first.write([b"a"], [b"1"], mark(7))
    first.close()
    first.close()
    again, other = stores.open(0), stores.open(1)
    assert (again.get([b"a"]), again.mark()) == ([b"1"], mark(7))
    assert (other.get([b"a"]), other.mark()) == ([None], None)
    again.close()
    other.close()


def test_a_task_is_open_once(stores: LocalStores) -> None:
    """The second is told that it is in use, and may have it as soon as the first lets go."""
    first = stores.open(0)
    for attempt in (stores.open, stores.discard):
        with pytest.raises(StateInUseError) as refused:
            attempt(0)
        assert (refused.value.code, refused.value.exit_code) == ("STATE_IN_USE", 75)
    first.close()
    stores.open(0).close()


def test_a_discarded_store_is_empty(stores: LocalStores) -> None:
    """Entries and mark are gone; of a store that never was there is nothing to discard."""
    stores.discard(0)
    opened = stores.open(0)
    opened.write([b"a"], [b"1"], mark(7))
    opened.close()
    stores.discard(0)
    opened = stores.open(0)
    assert (opened.get([b"a"]), opened.mark()) == ([None], None)
    opened.close()


def test_a_closed_store_refuses(stores: LocalStores) -> None:
    """Its task may be another process's by now."""
    opened = stores.open(0)
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        opened.get([b"a"])


def test_sizes_grow_with_what_is_held(store: LocalStore) -> None:
    """Entries are counted, bytes are at least about those of the values."""
    before = store.size()
    keys = [b"%04d" % n for n in range(1_000)]
    store.write(keys, [bytes(100)] * 1_000)
    after = store.size()
    assert (before.keys, after.keys) == (0, 1_000)
    assert after.bytes - before.bytes > 50_000


_WRITER = """
import sys
from pathlib import Path
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.ports import Mark
store = RocksDbStores(Path(sys.argv[1]), RocksDbMemory(8 << 20)).open(0)
for n in range(1_000_000):
    keys = [b"%04d" % k for k in range(n % 50, 2_000, 50)]
    store.write(keys, [b"%08d" % n * 20] * len(keys), Mark("log", n, 0))
    print(n, flush=True)
"""


def test_a_killed_process_loses_nothing_it_was_told_is_written(
    on_disk: RocksDbStores, tmp_path: Path
) -> None:
    """After kill -9 each write is there with its mark or not at all; none told of is missing."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        told = -1
        for line in writer.stdout:
            told = int(line)
            if told >= 300:
                break
        with pytest.raises(StateInUseError):
            on_disk.open(0)
        os.kill(writer.pid, signal.SIGKILL)
        told = max([told, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    store = on_disk.open(0)
    found = store.mark()
    assert found is not None
    assert found.changelog_offset in {told, told + 1}
    keys, values = store.scan(b"", 10_000)
    last = found.changelog_offset
    assert dict(zip(keys, values, strict=True)) == {
        b"%04d" % key: b"%08d" % (last - (last - key) % 50) * 20 for key in range(2_000)
    }
    store.close()


def filled(stores: RocksDbStores, directory: Path) -> Path:
    """Task 0 with entries in files; the directory of its database."""
    store = stores.open(0)
    for n in range(40):  # beyond the write buffers: some of it is in sorted files
        keys = [b"%06d" % (n * 1_000 + k) for k in range(1_000)]
        store.write(keys, [Random(n).randbytes(150)] * 1_000, mark(n))
    store.close()
    return directory / "0" / "rocksdb"


def largest(path: Path, pattern: str) -> Path:
    """The largest file of a kind."""
    return max(path.glob(pattern), key=lambda each: each.stat().st_size)


def flip(path: Path) -> None:
    """Change one byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_flipped_byte_is_found_by_whoever_reads_it(
    on_disk: RocksDbStores, tmp_path: Path
) -> None:
    """A get of the key, and a scan across it: neither takes the damage for an end or a value."""
    flip(largest(filled(on_disk, tmp_path), "*.sst"))
    store = on_disk.open(0)
    keys = [b"%06d" % n for n in range(40_000)]
    with pytest.raises(RebuildError) as damaged:
        store.get(keys)
    assert damaged.value.task == 0
    with pytest.raises(RebuildError):
        store.scan(b"", 100_000)
    store.close()
    on_disk.discard(0)
    fresh = on_disk.open(0)
    assert (fresh.scan(b"", 10), fresh.mark()) == (([], []), None)
    fresh.close()


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("*.sst", Path.unlink),
        ("*.sst", lambda path: os.truncate(path, 1_000)),
        ("MANIFEST*", flip),
        ("MANIFEST*", Path.unlink),
        ("CURRENT", lambda path: path.write_text("?")),
    ],
)
def test_a_damaged_directory_is_refused_as_a_whole(
    on_disk: RocksDbStores, tmp_path: Path, pattern: str, damage: object
) -> None:
    """The error says that it is to be made anew, and discarding it makes that possible."""
    path = filled(on_disk, tmp_path)
    assert callable(damage)
    damage(largest(path, pattern))
    with pytest.raises(RebuildError):
        on_disk.open(0)
    on_disk.discard(0)
    on_disk.open(0).close()


_UNFLUSHED = """
import os, sys
from pathlib import Path
from random import Random
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.ports import Mark
made = RocksDbMemory.options
def small(memory):
    options = made(memory)
    options.set_write_buffer_size(128 << 10)
    options.set_max_total_wal_size(300 << 10)
    return options
RocksDbMemory.options = small
stores = RocksDbStores(Path(sys.argv[1]), RocksDbMemory(8 << 20))
held = [stores.open(task) for task in range(12)]
for task, store in enumerate(held):
    for n in range(20 + 6 * task):
        keys = [b"%06d" % (n * 100 + k) for k in range(100)]
        store.write(keys, [Random(n).randbytes(100)] * 100, Mark("log", n, 0))
os._exit(0)
"""


def test_a_lost_log_takes_the_mark_back_with_the_entries(
    on_disk: RocksDbStores, tmp_path: Path
) -> None:
    """After a power failure the tail of the log may be missing: no mark is newer than its entries.

    Small buffers and logs bring RocksDB to writing the mark to disk when the entries are not due.
    """
    subprocess.run([sys.executable, "-c", _UNFLUSHED, str(tmp_path)], check=True)
    for log in tmp_path.glob("*/rocksdb/*.log"):
        log.unlink()
    for task in range(12):
        store = on_disk.open(task)
        found, (entries, _) = store.mark(), store.scan(b"", 100_000)
        assert len(entries) >= (0 if found is None else (found.changelog_offset + 1) * 100)
        store.close()


def test_a_store_of_a_later_release_stops_the_process(
    on_disk: RocksDbStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not damaged, must not be deleted by an older release, and is let go of again."""
    store = on_disk.open(0)
    monkeypatch.setattr("headwater.state.marks.FORMAT", 2)
    store.write([], [], mark(1))
    monkeypatch.undo()
    store.close()
    for _ in range(2):
        with pytest.raises(FatalError) as refused:
            on_disk.open(0)
        assert refused.value.code == "STATE_FORMAT"
    on_disk.discard(0)


_FULL = """
import resource, signal, sys
from pathlib import Path
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.errors import RetriableError
from headwater.ports import Mark
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = RocksDbStores(Path(sys.argv[1]), RocksDbMemory(32 << 20)).open(0)
def write(n):
    store.write([b"%d" % n], [bytes(10_000)], Mark("log", n, 0))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
n = 0
try:
    for n in range(100):
        write(n)
except RetriableError as error:
    assert error.code == "STATE_STORAGE", error
assert 5 < n < 99, n
assert store.mark() == Mark("log", n - 1, 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
write(n)
assert all(store.get([b"%d" % k for k in range(n + 1)]))
store.close()
print("done")
"""


def test_a_full_disk_refuses_a_write_until_there_is_room(tmp_path: Path) -> None:
    """Nothing is lost meanwhile, and the same call succeeds later without a restart."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr


def test_a_directory_that_cannot_be_made_is_the_disk_refusing(tmp_path: Path) -> None:
    """A file stands where the directory should be."""
    (tmp_path / "step").write_text("")
    with pytest.raises(RetriableError) as refused:
        RocksDbStores(tmp_path / "step", RocksDbMemory(1 << 20)).open(0)
    assert refused.value.code == "STATE_STORAGE"
