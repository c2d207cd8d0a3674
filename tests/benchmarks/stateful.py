"""Steps with state beside Kafka Streams with RocksDB, on one broker, taking turns.

CPU per event is that of the whole process while it works through events of random keys, with every
key in its state. Run: python -m tests.benchmarks.stateful [--keys 10000 1000000] [--events N]
[--only NAME ...] [--runs N]; ten times the input is --events 10000000.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import polars as pl
from rich.console import Console
from rich.table import Table
from tests.benchmarks import peer
from tests.benchmarks.watch import Goal, watched
from tests.benchmarks.workloads import (
    READING,
    SENSOR,
    WORKLOADS,
    Size,
    Workload,
    contract,
    readings,
    table,
)

from headwater import embedded
from headwater.adapters.kafka.bulk import BulkWriter
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.registration import lookup_ids, register
from headwater.contract import Contract, Encoder, load_contract
from headwater.contract.schema import contract_path
from headwater.ports import TopicSettings

ROOT: Final = Path(__file__).parents[2]
PARTITIONS: Final = 4
KEYS: Final = (10_000, 1_000_000)
EVENTS: Final = 1_000_000
OURS: Final = "headwater"
PEER: Final = "kafka-streams"
TURNS: Final = (  # engine, commit interval in ms, cache in bytes where it is to be chosen
    (OURS, 100, None),
    (PEER, 100, 10 << 20),  # its default
    (OURS, 1_000, None),
    (PEER, 1_000, 128 << 20),  # as large as ours
)
SHOWN: Final = (
    "cpu_us_per_event",
    "cpu_us_per_event_whole",
    "events_per_second",
    "peak_memory_mb",
    "written",
)

console: Final = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Job:
    """A workload at a size, by an engine that commits so often and caches so much."""

    workload: Workload
    size: Size
    engine: str
    commit_ms: int
    cache_bytes: int | None

    @property
    def name(self) -> str:
        """A part of a topic's name."""
        return f"{self.workload.name}-{self.size.name}-{self.engine}-{self.commit_ms}ms"


class Project:
    """A folder of contracts and products on one stack, with the topics of each size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.addresses = embedded.up(folder)
        self._kafka = {"bootstrap.servers": self.addresses.kafka}
        self._topics = KafkaTopics(self._kafka)
        self._registry = SchemaRegistry({"url": self.addresses.registry})

    def feed(self, size: Size) -> None:
        """The events and the table of a size."""
        self._fill(self.contract(in_of(size), READING, "log"), readings(size))
        self._fill(self.contract(table_of(size), SENSOR, "table"), table(size))

    def contract(self, topic: str, fields: Mapping[str, Any], kind: Any) -> Contract:
        """A published contract and its topic."""
        path = self.schema(topic)
        path.parent.mkdir(parents=True)
        path.write_text(contract("Row", fields), encoding="utf-8")
        loaded = load_contract(self.folder / "schemas", topic, 1)
        register(loaded, self._registry)
        self._topics.create([TopicSettings(topic, PARTITIONS, kind)])
        return loaded

    def schema(self, topic: str) -> Path:
        """The file of a contract."""
        return contract_path(self.folder / "schemas", topic, 1)

    def schema_id(self, loaded: Contract) -> int:
        """The registry's id of a contract."""
        return lookup_ids([loaded], self._registry)[loaded.topic].value

    def product(self, topic: str, text: str) -> None:
        """A product's declaration."""
        target = self.folder / "products" / topic.replace(".", "/").replace("-", "_")
        target.mkdir(parents=True)
        (target / "product.py").write_text(text, encoding="utf-8")

    def written(self, topic: str) -> int:
        """Records of a topic, the marks of transactions among them."""
        return sum(self._topics.ends(topic).values())

    def _fill(self, loaded: Contract, frames: Iterable[pl.DataFrame]) -> None:
        encoder = Encoder(loaded, self.schema_id(loaded))
        writer = BulkWriter(self._kafka)
        for frame in frames:
            encoded = encoder.encode(frame)
            writer.write(loaded.topic, encoded.keys, encoded.values)
        writer.flush()


def in_of(size: Size) -> str:
    """The topic of events."""
    return f"bench.readings-{size.name}"


def table_of(size: Size) -> str:
    """The topic of the table."""
    return f"bench.sensors-{size.name}"


class Runs:
    """One run after another on a project."""

    def __init__(self, project: Project, kafka_streams: peer.KafkaStreams | None) -> None:
        self._project = project
        self._kafka_streams = kafka_streams

    def run(self, job: Job, number: int) -> dict[str, Any]:
        """From the first event to the last with empty state; the figures."""
        project = self._project
        topic = f"bench.{job.name}-{number}"
        output = project.contract(topic, job.workload.fields, "log")
        if job.engine == OURS:
            command, environment = self._ours(job, topic)
        else:
            command, environment = self._peers(job, output)
        size = job.size
        kafka = project.addresses.kafka
        goal = Goal(kafka, topic, in_of(size), size.warm_up, size.events)
        try:
            figures = watched(command, {**os.environ, **environment}, project.folder, goal)
        finally:
            shutil.rmtree(project.folder / "state", ignore_errors=True)
        return {**figures, "written": project.written(topic)}

    def _ours(self, job: Job, topic: str) -> tuple[list[str], dict[str, str]]:
        size = job.size
        text = job.workload.product(topic, in_of(size), table_of(size))
        self._project.product(topic, text)
        return [sys.executable, "-m", "headwater", "run", topic], {
            "HEADWATER_KAFKA": self._project.addresses.kafka,
            "HEADWATER_REGISTRY": self._project.addresses.registry,
            "HEADWATER_ENVIRONMENT": "dev",
            "HEADWATER_LOG_LEVEL": "warning",
            "HEADWATER_COMMIT_INTERVAL": f"{job.commit_ms}ms",
            "HEADWATER_STATE_DIR": "state",
        }

    def _peers(self, job: Job, output: Contract) -> tuple[list[str], dict[str, str]]:
        if self._kafka_streams is None:
            message = "there is no Kafka Streams to run"
            raise RuntimeError(message)
        project, size = self._project, job.size
        return self._kafka_streams.command(), {
            "JOB": job.workload.name,
            "GROUP": output.topic,
            "KAFKA": project.addresses.kafka,
            "COMMIT_MS": str(job.commit_ms),
            "CACHE_BYTES": str(job.cache_bytes),
            "STATE_DIR": "state",
            "IN": in_of(size),
            "IN_SCHEMA": str(project.schema(in_of(size))),
            "TABLE": table_of(size),
            "TABLE_SCHEMA": str(project.schema(table_of(size))),
            "OUT": output.topic,
            "OUT_SCHEMA": str(project.schema(output.topic)),
            "OUT_ID": str(project.schema_id(output)),
        }


Results = dict[str, list[dict[str, Any]]]


def measure(options: argparse.Namespace) -> Results:
    """Every workload at every size by every engine, `runs` times, the engines taking turns."""
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    results: Results = {}
    try:
        project = Project(folder)
        kafka_streams = peer.KafkaStreams(folder) if peer.is_possible() else None
        if kafka_streams is None:
            console.print("no Kafka Streams beside: this machine has no javac")
        runs = Runs(project, kafka_streams)
        for size in (Size(keys, options.events) for keys in options.keys):
            console.print(f"feeding {size.events:,} events of {size.keys:,} keys")
            project.feed(size)
            for number in range(1, options.runs + 1):
                for job in jobs(options, size, with_peer=kafka_streams is not None):
                    figures = runs.run(job, number)
                    console.print(f"{time.strftime('%H:%M:%S')} {job.name}", figures)
                    results.setdefault(job.name, []).append(figures)
    finally:
        embedded.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return results


def jobs(options: argparse.Namespace, size: Size, *, with_peer: bool) -> Sequence[Job]:
    """What is to be run at a size, in turns."""
    return [
        Job(workload, size, engine, commit_ms, cache_bytes)
        for workload in WORKLOADS
        if workload.name in options.only
        for engine, commit_ms, cache_bytes in TURNS
        if commit_ms in options.commit_ms and (with_peer or engine == OURS)
    ]


def show(results: Results) -> None:
    """The medians as a table."""
    shown = Table(title="State: medians; CPU is of the process while all keys are in its state")
    shown.add_column("job")
    for name in SHOWN:
        shown.add_column(name, justify="right")
    for job, figures in results.items():
        row = (f"{median(each[name] for each in figures):,.6g}" for name in SHOWN)
        shown.add_row(job, *row)
    Console(width=140).print(shown)


def with_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """What can be chosen."""
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--keys", type=int, nargs="*", default=KEYS, help="of each size")
    parser.add_argument("--events", type=int, default=EVENTS, help="measured, after a warm-up")
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="WORKLOAD")
    parser.add_argument("--commit-ms", type=int, nargs="*", default=[100, 1_000])
    parser.add_argument("--runs", type=int, default=1)
    return parser


def main() -> None:
    """Measure, print, write the JSON file."""
    options = with_options(argparse.ArgumentParser(description=__doc__)).parse_args()
    results = measure(options)
    target = ROOT / "bench-results" / f"state-{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    show(results)
    print(target)


if __name__ == "__main__":
    main()
