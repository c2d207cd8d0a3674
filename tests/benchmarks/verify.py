"""What it costs to prove a snapshot: flights of 79 bytes, taken into Delta, on a real broker.

Every record is read from the broker again, decoded and hashed, and so is every row of the table.
Prints JSON: rows a second on the wall, and the CPU microseconds a row of this process.
Run: python tests/benchmarks/verify.py [--repeat YEARS] [--runs N]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headwater import embedded
from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.registration import lookup_ids, register
from headwater.contract import load_contract
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.verifier import Verifier
from headwater.snapshot.writer import Snapshotter

ROOT: Final = Path(__file__).parents[2]
TOPIC: Final = "operations.departures"


@dataclass
class Bench:
    """A broker with years of departures, and a table of them."""

    folder: Path
    repeat: int
    reader: KafkaLogReader = field(init=False)

    def __post_init__(self) -> None:
        addresses = embedded.up(self.folder)
        kafka = {"bootstrap.servers": addresses.kafka}
        environment = {
            **os.environ,
            "HEADWATER_KAFKA": addresses.kafka,
            "HEADWATER_REGISTRY": addresses.registry,
            "HEADWATER_ENVIRONMENT": "dev",
        }
        shutil.copytree(ROOT / "schemas", self.folder / "schemas")
        feed = ["-m", "headwater", "demo", "feed", "--repeat", str(self.repeat)]
        subprocess.run(
            [sys.executable, *feed],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        registry = SchemaRegistry({"url": addresses.registry})
        contract = load_contract(self.folder / "schemas", TOPIC, 1)
        register(contract, registry)
        ids = lookup_ids([contract], registry)[TOPIC]
        self.codec = RowCodec(contract, *ids, lookup=registry.schema)
        self.reader = KafkaLogReader(kafka)
        self.topics = KafkaTopics(kafka)

    def table(self) -> DeltaSnapshotTable:
        """One more handle."""
        return DeltaSnapshotTable(self.folder / "table", product=TOPIC, topic=TOPIC)

    def take(self) -> int:
        """The snapshot; rows."""
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
        """Prove it; rows."""
        verdict = Verifier(
            topic=TOPIC,
            topics=self.topics,
            reader=self.reader,
            open_table=self.table,
            codecs=lambda _id: self.codec,
            full=full,
        ).verify()
        if verdict.outcome != "equal" or (full and verdict.sampled != verdict.rows):
            raise SystemExit(str(verdict))
        return verdict.rows


def measured(work: Callable[[], int]) -> dict[str, Any]:
    """One run."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "rows": rows,
        "rows_per_second": round(rows / wall),
        "cpu_us_per_row": round(cpu / rows * 1e6, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=6, help="years of flights (6: 2,020,656)")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    try:
        bench = Bench(folder, options.repeat)
        with closing(bench.reader):
            results = {
                "take": [measured(bench.take)],
                "columnar": [
                    measured(lambda: bench.verify(full=False)) for _ in range(options.runs)
                ],
                "full": [measured(lambda: bench.verify(full=True))],
            }
    finally:
        embedded.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
