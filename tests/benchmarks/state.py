"""What keyed state costs: four numbers a key, random keys in batches of 10,000, one task.

CPU microseconds per key, RocksDB's own threads included; seconds of wall and CPU for whole stores.
Run: python tests/benchmarks/state.py [KEYS CACHE_MIB]
"""

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import polars as pl

from headwater.adapters.directory import DirectoryStorage
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.contract import StateRows
from headwater.state import Checkpoint, KeyedStore, StoreSettings, checkpoints

BATCH: Final = 10_000
ROUNDS: Final = 60
BATCHES_PER_COMMIT: Final = 5
ROCKSDB_BYTES: Final = 64 << 20
COLUMNS: Final[dict[str, pl.DataType]] = {
    "count": pl.Int64(),
    "sum": pl.Float64(),
    "least": pl.Float64(),
    "most": pl.Float64(),
}
ROWS: Final = StateRows(COLUMNS)


class Timed:
    """CPU and wall seconds by name."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}
        self.wall_s: dict[str, float] = {}

    def run(self, name: str, work: Callable[[], object]) -> None:
        """Do the work under this name."""
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        self.cpu_s[name] = self.cpu_s.get(name, 0.0) + time.process_time() - cpu
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.perf_counter() - wall


def batch(numbers: pl.Series) -> tuple[pl.Series, pl.Series, pl.DataFrame]:
    """Partitions, keys and rows for key numbers."""
    keys = numbers.cast(pl.String).str.zfill(8).cast(pl.Binary)
    value = (numbers % 977).cast(pl.Float64) / 7
    rows = pl.DataFrame({"count": numbers, "sum": value, "least": value, "most": value})
    return pl.zeros(len(keys), dtype=pl.UInt32, eager=True), keys, rows


def fill(store: KeyedStore, keys: int) -> None:
    """Every key once, in order."""
    for start in range(0, keys, BATCH):
        store.write(*batch(pl.int_range(start, min(keys, start + BATCH), eager=True)))
        store.keep()
        store.committed({0: start})
        if store.flush_is_due():
            store.flush()
    store.flush()


def update(store: KeyedStore, keys: int, timed: Timed) -> int:
    """Read and write random keys as a step does; how many."""
    done = 0
    every = pl.int_range(keys, eager=True)
    for number in range(ROUNDS):
        drawn = every.sample(BATCH, with_replacement=True, seed=number).unique(maintain_order=True)
        partitions, names, rows = batch(drawn)
        timed.run("read", lambda p=partitions, n=names: store.read(p, n))  # type: ignore[misc]  # mypy infers no defaults of a lambda
        timed.run("write", lambda p=partitions, n=names, r=rows: store.write(p, n, r))  # type: ignore[misc]  # as above
        timed.run("keep", store.keep)
        if number % BATCHES_PER_COMMIT == BATCHES_PER_COMMIT - 1:
            timed.run("commit", lambda end=number: store.committed({0: end}))  # type: ignore[misc]  # as above
        if store.flush_is_due():
            timed.run("flush", store.flush)
        done += len(drawn)
    timed.run("flush", store.flush)
    return done


def checkpointed(store: KeyedStore, stores: RocksDbStores, directory: Path, timed: Timed) -> None:
    """Write a checkpoint of task 0 and load it into task 1."""
    storage = DirectoryStorage(directory)
    writer = store.checkpoint(0, storage, "benchmark")
    assert writer is not None

    def write() -> None:
        while not writer.advance():
            pass
        writer.finish()

    timed.run("checkpoint", write)
    found = next(checkpoints(storage, "benchmark", 0))
    assert isinstance(found, Checkpoint)
    other = KeyedStore(ROWS, stores, StoreSettings("log"))
    other.assign(1)
    timed.run("load", lambda: deque(other.load(1, found), 0))
    other.release(1)


def measure(keys: int, cache_bytes: int) -> dict[str, object]:
    """Every figure, for a store of so many keys."""
    per_key, whole = Timed(), Timed()
    with TemporaryDirectory() as directory:
        stores = RocksDbStores(Path(directory) / "state", RocksDbMemory(ROCKSDB_BYTES))
        store = KeyedStore(ROWS, stores, StoreSettings("log", cache_bytes=cache_bytes))
        store.assign(0)
        fill(store, keys)
        done = update(store, keys, per_key)
        checkpointed(store, stores, Path(directory) / "checkpoints", whole)
        whole.run("release", lambda: store.release(0))
        whole.run("reopen", lambda: store.assign(0))
        store.release(0)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20
    costs = {name: round(s / done * 1e6, 2) for name, s in per_key.cpu_s.items()}
    return {
        "keys": keys,
        "cache_mb": cache_bytes >> 20,
        "cpu_us_per_key": {**costs, "total": round(sum(costs.values()), 2)},
        "cpu_s": {name: round(s, 3) for name, s in whole.cpu_s.items()},
        "wall_s": {name: round(s, 3) for name, s in whole.wall_s.items()},
        "resident_mb": resident,
    }


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]] or [1_000_000, 512]
    print(json.dumps(measure(given[0], given[1] << 20), indent=2))
