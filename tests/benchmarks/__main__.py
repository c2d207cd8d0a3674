"""`make bench`: the product loop beside a hand-written baseline, in one run on one broker.

Prints a table and writes `bench-results/<time>.json` with versions and every single run.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from headwater import embedded
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.registration import register
from headwater.contract import load_contract
from headwater.ports import TopicSettings

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
PRODUCT: Final = ROOT / "tests/stateless_delays.txt"  # W1: figures stay comparable
SCHEMAS: Final = ROOT / "schemas/operations"
LIBRARIES: Final = ("headwater", "confluent-kafka", "polars", "pyarrow", "pyruhvro", "fastavro")
RUN_LIMIT_S: Final = 600
PARTITIONS: Final = 4
SHOWN: Final = (
    "records_per_second",
    "cpu_us_per_record",
    "peak_memory_mb",
    "commit_ms_p50",
    "commit_ms_p99",
)

UNLIKE: Final = ("latency", "bad input")  # jobs of other figures: latency at 10,000 records/s

console: Final = Console(stderr=True)


def say(text: str) -> None:
    """One line of progress."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}")


class Bench:
    """A project in a temporary folder: copies of the product, one topic each, on one stack."""

    def __init__(self, folder: Path, repeat: int) -> None:
        self.folder = folder
        self.addresses = embedded.up(folder)
        self.environment = {
            **os.environ,
            "HEADWATER_KAFKA": self.addresses.kafka,
            "HEADWATER_REGISTRY": self.addresses.registry,
            "HEADWATER_ENVIRONMENT": "dev",
            "HEADWATER_LOG_LEVEL": "warning",
        }
        shutil.copytree(ROOT / "schemas", folder / "schemas")
        say(f"feeding {repeat} years of departures")
        self.command("-m", "headwater", "demo", "feed", "--repeat", str(repeat))
        self.records = sum(self.topics().ends("operations.departures").values())

    def topics(self) -> KafkaTopics:
        """The broker's topics."""
        return KafkaTopics({"bootstrap.servers": self.addresses.kafka})

    def product(self, name: str, *, by_event: bool = False, source: str | None = None) -> str:
        """A copy of the product under another name; returns its topic."""
        topic = f"bench.{name}"
        text = PRODUCT.read_text(encoding="utf-8").replace("operations.departure-delays", topic)
        if by_event:
            text = text[: text.index("distance = pl.col")] + (HERE / "by_event.txt").read_text()
        if source is not None:
            text = text.replace("operations.departures", source)
        target = self.folder / "products" / "bench" / name.replace("-", "_")
        target.mkdir(parents=True)
        (target / "product.py").write_text(text, encoding="utf-8")
        self.contract("departure_delays", topic)
        return topic

    def contract(self, original: str, topic: str) -> Path:
        """A copy of a contract under another topic, published."""
        folder = self.folder / "schemas" / topic.replace(".", "/").replace("-", "_")
        shutil.copytree(SCHEMAS / original, folder)
        loaded = load_contract(self.folder / "schemas", topic, 1)
        register(loaded, SchemaRegistry({"url": self.addresses.registry}))
        self.topics().create([TopicSettings(topic, PARTITIONS, "log")])
        return folder / "v1.avsc"

    def w1(self, name: str, *, by_event: bool = False) -> dict[str, Any]:
        """One run of the product over everything fed."""
        return self.command(str(HERE / "w1.py"), self.product(name, by_event=by_event))

    def baseline(self, name: str) -> dict[str, Any]:
        """One run of the hand-written loop over everything fed."""
        topic = f"bench.{name}"
        schema = self.contract("departure_delays", topic)
        script = str(HERE / "baseline.py")
        return self.command(script, topic, topic, str(schema), str(self.records))

    def latency(self, seconds: float) -> dict[str, Any]:
        """The product at 10,000 records a second with a commit interval of 25 ms."""
        self.contract("departures", "bench.departures")
        topic = self.product("latency", source="bench.departures")
        processor = subprocess.Popen(
            [sys.executable, "-m", "headwater", "run", topic],
            cwd=self.folder,
            env={**self.environment, "HEADWATER_COMMIT_INTERVAL": "25ms"},
        )
        try:
            return self.command(str(HERE / "latency.py"), topic, str(seconds))
        finally:
            processor.terminate()
            processor.wait(20)

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run a Python command; its last line of output is JSON, or nothing of ours."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=RUN_LIMIT_S,
        )
        last = done.stdout.splitlines()[-1] if done.stdout else ""
        return dict(json.loads(last)) if last.startswith("{") else {}


def measure(bench: Bench, runs: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Every job `runs` times, taking turns, so that a noisy minute hits all of them."""
    results: dict[str, list[dict[str, Any]]] = {"w1": [], "w1 by event": [], "baseline": []}
    for run in range(1, runs + 1):
        say(f"run {run} of {runs}")
        results["w1"].append(bench.w1(f"w1-{run}"))
        results["w1 by event"].append(bench.w1(f"by-event-{run}", by_event=True))
        results["baseline"].append(bench.baseline(f"baseline-{run}"))
    say("bad input")
    results["bad input"] = [bench.command(str(HERE / "bad_input.py"))]
    say(f"latency, {seconds:g} s")
    results["latency"] = [bench.latency(seconds)]
    return results


def show(results: dict[str, list[dict[str, Any]]]) -> None:
    """The medians as a table."""
    table = Table(title="Medians; lower is better but for records_per_second")
    table.add_column("job")
    for name in SHOWN:
        table.add_column(name, justify="right")
    for job, figures in results.items():
        if job not in UNLIKE:
            row = [[each[name] for each in figures if name in each] for name in SHOWN]
            table.add_row(job, *(f"{median(values):,.6g}" if values else "" for values in row))
    out = Console()
    out.print(table)
    for name in UNLIKE:
        for result in results.get(name, []):
            out.print(f"{name}: ", result)


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=6, help="years of flights (6: 2,020,656)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of latency")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    try:
        results = measure(Bench(folder, options.repeat), options.runs, options.seconds)
    finally:
        embedded.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    report = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in LIBRARIES},
        "results": results,
    }
    target = ROOT / "bench-results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    show(results)
    print(target)


if __name__ == "__main__":
    main()
