"""How soon a product with state goes on after a restart, on a real broker: `.latest`, four tasks.

Seconds from starting the process to its first new commit, with a record waiting: with the local
state of a clean stop and of a kill, with an empty disk and checkpoints, and with the changelog
alone. Beside each the CPU it took until then, which a busy machine does not change, and what the
process itself says of restoring.
Prints one JSON object. Run: python -m tests.benchmarks.restart [KEYS]
"""

import argparse
import json
import os
import shutil
import signal
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import polars as pl
from tests.faults.harness import Bench, Run, until

from headwater import embedded
from headwater.adapters.kafka.bulk import BulkWriter
from headwater.contract import Encoder
from headwater.ports import TopicSettings

SOURCE: Final = "bench.seen"
PRODUCT: Final = "bench.latest"
PARTITIONS: Final = 4
PIECE: Final = 50_000
FILL_S: Final = 600.0
START_S: Final = 120.0
CHECKPOINTS: Final = {"HEADWATER_CHECKPOINT_EVERY": "1s"}
TEXT: Final = f"""
from headwater import DataProduct

product = DataProduct("{PRODUCT}", owner="me")
product.publish(product.stream("{SOURCE}", contract=1).latest("id", by="at"), contract=1)
"""
FIELDS: Final = [
    {"name": "id", "type": "string", "doc": "The key."},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "When."},
    {"name": "n", "type": "long", "doc": "The number of the event."},
]


class Restarts:
    """A product that keeps the latest of many keys, started again and again."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(embedded.up(folder), folder)
        self.folder = folder
        self._numbers = 0
        for topic in (SOURCE, PRODUCT):
            self._contract(topic)
        file = folder / "products/bench/latest/product.py"
        file.parent.mkdir(parents=True)
        file.write_text(TEXT, encoding="utf-8")
        self.bench.topics.create([TopicSettings(SOURCE, PARTITIONS, "log")])
        self._encoder: Encoder = self.bench.encoder(SOURCE)

    def feed(self, keys: int) -> None:
        """An event of each key, later than all before."""
        writer = BulkWriter(self.bench.kafka)
        for first in range(0, keys, PIECE):
            numbers = pl.int_range(first, min(keys, first + PIECE), eager=True)
            self._numbers += 1
            frame = pl.DataFrame(
                {
                    "id": "key-" + numbers.cast(pl.String).str.zfill(8),
                    "at": pl.repeat(1_700_000_000_000 + self._numbers, len(numbers), eager=True),
                    "n": numbers,
                }
            ).cast({"at": pl.Datetime("ms", "UTC")})
            encoded = self._encoder.encode(frame.with_row_index("_row"))
            writer.write(SOURCE, encoded.keys, encoded.values)
        writer.flush()

    def fill(self, keys: int) -> dict[str, Any]:
        """State of so many keys, and a checkpoint of each task."""
        self.feed(keys)
        began_s = time.perf_counter()
        folder = self.folder / ".headwater/checkpoints" / PRODUCT / "latest-1"
        with self.bench.run(PRODUCT, until_end=False, settings=CHECKPOINTS) as run:
            until(self._has_read, FILL_S, "everything read")
            read_s = time.perf_counter() - began_s
            written = time.monotonic()
            self.feed(1)  # so that a flush moves the mark once more
            until(
                lambda: (
                    len({each.parent for each in folder.glob("*/*/*.parquet")}) == PARTITIONS
                    and time.monotonic() - written > 15
                ),
                FILL_S,
                "a checkpoint of each task",
            )
            run.send(signal.SIGTERM)
            run.exit_code()
        slices = told(run, "loop.checkpoint_written")
        newest = {each.parent: each.stat().st_size for each in sorted(folder.glob("*/*/*.parquet"))}
        return {
            "events_per_second": round(keys / read_s),
            "checkpoint_mb": round(sum(newest.values()) / 1e6, 1),
            "checkpoint_s": max(each["seconds"] for each in slices),
        }

    def restart(self, *, ends: signal.Signals = signal.SIGTERM) -> dict[str, Any]:
        """Seconds to the first new commit; the process then ends by this signal."""
        self.feed(1)
        with closing(self.bench.gauge(PRODUCT, SOURCE)) as gauge:
            before, began_s = gauge.total(), time.perf_counter()
            with self.bench.run(PRODUCT, until_end=False) as run:
                gauge.wait_beyond(before, run, START_S)
                seconds, cpu_s = time.perf_counter() - began_s, cpu_of(run)
                run.send(ends)
                run.exit_code()
                (restored,) = told(run, "loop.restored")
        return {
            "first_commit_s": round(seconds, 2),
            "cpu_s": round(cpu_s, 2),
            "restore_s": restored["seconds"],
            "from_checkpoints": restored["from_checkpoints"],
            "from_changelog": restored["from_changelog"],
        }

    def _has_read(self) -> bool:
        return self.bench.has_read(PRODUCT, SOURCE)

    def _contract(self, topic: str) -> None:
        file = self.folder / "schemas" / topic.replace(".", "/") / "v1.avsc"
        file.parent.mkdir(parents=True, exist_ok=True)
        schema = {
            "type": "record",
            "name": "Seen",
            "namespace": "bench",
            "doc": "Something seen.",
            "owner": "me",
            "key": "id",
            "eventTime": "at",
            "compatibility": "FULL_TRANSITIVE",
            "fields": FIELDS,
        }
        file.write_text(json.dumps(schema), encoding="utf-8")


def cpu_of(run: Run) -> float:
    """Seconds of CPU that a process took so far, all its threads."""
    fields = Path(f"/proc/{run.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def told(run: Run, event: str) -> list[dict[str, Any]]:
    """The log lines of an event."""
    lines = [json.loads(line) for line in run.errors().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


def measure(keys: int, folder: Path) -> dict[str, Any]:
    """Every figure."""
    restarts = Restarts(folder)
    local = folder / ".headwater"
    figures: dict[str, Any] = {"keys": keys, "filled": restarts.fill(keys)}
    figures["after_a_stop"] = restarts.restart(ends=signal.SIGKILL)
    figures["after_a_kill"] = restarts.restart()
    shutil.rmtree(local / "state")
    figures["from_checkpoints"] = restarts.restart()
    shutil.rmtree(local / "state")
    shutil.rmtree(local / "checkpoints")
    figures["from_the_changelog"] = restarts.restart()
    return figures


def main() -> None:
    """Measure in a temporary folder and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("keys", type=int, nargs="?", default=1_000_000, help="of the state")
    keys = parser.parse_args().keys
    folder = Path(tempfile.mkdtemp(prefix="headwater-restart-"))
    try:
        print(json.dumps(measure(keys, folder), indent=2))
    finally:
        embedded.down(folder)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
