"""`make bench-snapshots`: a log of flights taken into tables of every format, proved, read on.

Each job is a process of its own beside one broker; formats take turns, so that a noisy minute hits
all of them. Prints medians and writes `bench-results/<time>-snapshots.json` with every run. CPU is
that of the whole process, librdkafka's threads included; memory is the largest resident set.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

from headwater import embedded
from headwater.adapters.kafka.bulk import BulkWriter
from headwater.adapters.kafka.follower import KafkaFollower
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.arenas import limit_arenas
from headwater.assembly.collection import rare_collections
from headwater.assembly.flights import data_directory, departures
from headwater.assembly.registration import lookup_ids, register
from headwater.assembly.table_formats import MARKS, SnapshotTables
from headwater.contract import Encoder, load_contract
from headwater.ports import Table
from headwater.reader.product import Product, Sources
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.verifier import Verifier
from headwater.snapshot.writer import Snapshotter

ROOT: Final = Path(__file__).parents[2]
TOPIC: Final = "operations.departures"  # 79 bytes a value
FEW: Final = 100  # rows of a commit whose rows cost next to nothing
SMALL_COMMITS: Final = 10
LIBRARIES: Final = ("headwater", "confluent-kafka", "deltalake", "pyiceberg", "polars", "pyarrow")
JOB_LIMIT_S: Final = 1_800


@dataclass
class World:
    """The clients of one process on a broker with years of departures."""

    folder: Path
    format: str
    reader: KafkaLogReader = field(init=False)

    def __post_init__(self) -> None:
        self.kafka = {"bootstrap.servers": os.environ["HEADWATER_KAFKA"]}
        self.registry = SchemaRegistry({"url": os.environ["HEADWATER_REGISTRY"]})
        self.contract = load_contract(self.folder / "schemas", TOPIC, 1)
        register(self.contract, self.registry)
        self.ids = lookup_ids([self.contract], self.registry)[TOPIC]
        self.codec = self.new_codec()
        self.topics = KafkaTopics(self.kafka)
        self.reader = KafkaLogReader(self.kafka)
        self.table()  # loads the format, which no job is to be charged with

    def new_codec(self) -> RowCodec:
        """One more, as the commands make one for each thread."""
        return RowCodec(self.contract, *self.ids, lookup=self.registry.schema)

    def table(self) -> Table:
        """One more handle."""
        place = str(self.folder / self.format)
        return SnapshotTables(place, TOPIC).open_as(TOPIC, self.format)

    def take(self) -> int:
        """A snapshot; rows."""
        return (
            Snapshotter(
                product=TOPIC,
                topic=TOPIC,
                topics=self.topics,
                reader=self.reader,
                table=self.table(),
                codec=self.codec,
            )
            .take()
            .rows
        )

    def verify(self, *, full: bool) -> int:
        """A proof of it; rows."""
        verdict = Verifier(
            topic=TOPIC,
            topics=self.topics,
            reader=self.reader,
            open_table=self.table,
            codecs=lambda _id: self.new_codec(),
            full=full,
        ).verify()
        if verdict.outcome != "equal" or (full and verdict.sampled != verdict.rows):
            raise SystemExit(str(verdict))
        return verdict.rows

    def publish(self) -> None:
        """A few more flights."""
        rows = departures(data_directory()).head(FEW).with_row_index("_row")
        encoded = Encoder(self.contract, *self.ids).encode(rows)
        writer = BulkWriter(self.kafka)
        writer.write(TOPIC, encoded.keys, encoded.values)
        writer.flush()

    def product(self) -> Product:
        """As a consumer opens it."""
        return Product(
            lambda: self.contract,
            Sources(
                topics=self.topics,
                registry=self.registry,
                open_table=self.table,
                open_range_reader=lambda: KafkaLogReader(self.kafka),
                open_follower=lambda: KafkaFollower(self.kafka),
            ),
        )


def rated(work: Callable[[], int]) -> dict[str, Any]:
    """Rows a second, their CPU, and the peak of this process."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    with rare_collections():  # likewise
        rows = work()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return {
        "rows": rows,
        "rows_per_second": round(rows / wall_s),
        "cpu_us_per_row": round(cpu_s / rows * 1e6, 2),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def take(world: World) -> dict[str, Any]:
    """The whole log into a new table."""
    return rated(world.take)


def small(world: World) -> dict[str, Any]:
    """Commits of a few rows each behind the whole log; their times in ms."""
    wall_ms, cpu_ms = [], []
    for _ in range(SMALL_COMMITS):
        world.publish()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        world.take()
        cpu_ms.append((time.process_time() - cpu_s) * 1e3)
        wall_ms.append((time.perf_counter() - wall_s) * 1e3)
    return {"commit_ms": round(median(wall_ms), 1), "commit_cpu_ms": round(median(cpu_ms), 1)}


def handover(world: World) -> dict[str, Any]:
    """From the last rows of a snapshot to the first ones of the log, for ever and until now."""
    world.publish()
    found = {}
    for name, until in (("follow", None), ("until_now", "now")):
        with world.product().read("snapshot", until=until) as reading:  # type: ignore[arg-type]  # both are
            left_s = time.perf_counter()
            for _frame in reading:
                if reading.position.snapshot is None:  # the first rows of the log
                    break
                left_s = time.perf_counter()
            found[f"handover_{name}_s"] = round(time.perf_counter() - left_s, 3)
    return found


JOBS: Final[Mapping[str, Callable[[World], dict[str, Any]]]] = {
    "take": take,
    "verify": lambda world: rated(lambda: world.verify(full=False)),
    "verify --full": lambda world: rated(lambda: world.verify(full=True)),
    "small commit": small,
    "hand-over": handover,
}


class Bench:
    """A broker with years of departures in a temporary folder, and the processes beside it."""

    def __init__(self, folder: Path, repeat: int) -> None:
        self.folder = folder
        addresses = embedded.up(folder)
        self.environment = {
            **os.environ,
            "HEADWATER_KAFKA": addresses.kafka,
            "HEADWATER_REGISTRY": addresses.registry,
            "HEADWATER_ENVIRONMENT": "dev",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        shutil.copytree(ROOT / "schemas", folder / "schemas")
        self._run("-m", "headwater", "demo", "feed", "--repeat", str(repeat))

    def job(self, name: str, format_: str) -> dict[str, Any]:
        """One job in a process of its own."""
        print(f"{time.strftime('%H:%M:%S')} {name}, {format_}", file=sys.stderr)
        told = self._run(__file__, "--job", name, "--format", format_, "--folder", str(self.folder))
        return dict(json.loads(told.splitlines()[-1]))

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=JOB_LIMIT_S,
        ).stdout


def measure(bench: Bench, runs: int) -> dict[str, list[dict[str, Any]]]:
    """Every job on every format; the tables of the last run are those that are proved and read."""
    results: dict[str, list[dict[str, Any]]] = {}
    for _ in range(runs):
        for format_ in MARKS:
            shutil.rmtree(bench.folder / format_, ignore_errors=True)
            results.setdefault(f"take, {format_}", []).append(bench.job("take", format_))
    for name in list(JOBS)[1:]:
        for format_ in MARKS:
            results[f"{name}, {format_}"] = [bench.job(name, format_)]
    return results


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=6, help="years of flights (6: 2,020,656)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--job", choices=JOBS)
    parser.add_argument("--format", choices=MARKS)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.job:
        limit_arenas()  # as the commands do
        world = World(options.folder, options.format)
        with closing(world.reader):
            print(json.dumps(JOBS[options.job](world)))
        return
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    try:
        results = measure(Bench(folder, options.repeat), options.runs)
    finally:
        embedded.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    report = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {name: version(name) for name in LIBRARIES},
        "results": results,
    }
    target = ROOT / "bench-results" / f"{time.strftime('%Y%m%d-%H%M%S')}-snapshots.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, each in results.items():
        print(f"{name}: ", {key: median(run[key] for run in each) for key in each[0]})
    print(target)


if __name__ == "__main__":
    main()
