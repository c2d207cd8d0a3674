"""A product that sets records aside on a real broker, and the command that brings them back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import polars as pl
import pytest
from structlog.contextvars import clear_contextvars
from tests.cli import inside
from tests.dead_letters.counted import PASSING
from tests.dead_letters.world import World
from tests.faults.harness import Bench
from tests.topics.settled import settled

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.assembly.flights import data_directory, departures
from headwater.assembly.letters import standing, state
from headwater.assembly.project import load_product
from headwater.assembly.running import RunOptions, Summary, run_product
from headwater.config import load_settings
from headwater.embedded import Addresses
from headwater.product.names import folder_of

RAISING: Final = '''
"""Delays; the first release cannot take flights of one carrier."""

import polars as pl

from headwater import DataProduct

product = DataProduct(name="operations.departure-delays", owner="tests@airport.example")
departures = product.stream("operations.departures", contract=1, start="earliest")


def strict(carrier: str):
    def check(frame: pl.DataFrame) -> pl.DataFrame:
        """As it is, but one carrier is refused."""
        if (frame["carrier"] == carrier).any():
            raise ValueError("secret payload")
        return frame

    return check


delays = FLOW.select(
    "flight_id",
    "carrier",
    "origin",
    "dest",
    "sched_dep",
    delay_minutes="dep_delay",
    late=pl.col("dep_delay") > 15,
    speed_class=pl.lit("short"),
)
product.publish(delays, contract=1)
'''
FIRST: Final = RAISING.replace("FLOW", 'departures.map(strict("BAD"))')
SECOND: Final = RAISING.replace("FLOW", "departures")
REFUSING: Final = 'raise ValueError("secret payload")'
DEADLY: Final = FIRST.replace(REFUSING, '__import__("os")._exit(3)')


class SetAside:
    """One product, what it was fed, and `headwater dead-letters`.

    Both work in this process, where a process of their own would prove nothing more.
    """

    def __init__(self, bench: Bench, name: str, fed: pl.DataFrame) -> None:
        self.bench = bench
        self.fed = fed
        self.source = bench.source(f"{name}-in", [fed], partitions=2)
        self.product = bench.product(name, self.source, FIRST)
        self.letters = f"{self.product}.dead-letters"

    def run(self) -> Summary:
        """Run the product to the end of its input."""
        with inside.project(self.bench.folder, self._environment()):
            try:
                return run_product(
                    load_product(self.product), load_settings(), RunOptions(until_end=True)
                )
            finally:
                clear_contextvars()

    def release(self, text: str) -> None:
        """Put another release of the product in place."""
        file = self.bench.folder / "products" / folder_of(self.product) / "product.py"
        named = text.replace("operations.departure-delays", self.product)
        file.write_text(named.replace("operations.departures", self.source))

    def feed(self, rows: pl.DataFrame) -> None:
        """Publish more departures and let the product read them."""
        self.publish(rows)
        self.run()

    def publish(self, rows: pl.DataFrame) -> None:
        """Publish more departures."""
        encoded = self.bench.encoder(self.source).encode(rows.with_row_index("_row"))
        writer = BulkWriter(self.bench.kafka)
        writer.write(self.source, encoded.keys, encoded.values)
        writer.flush()

    def begin(
        self, command: str, *arguments: str, settings: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Start a command on the dead letters of the product as a process."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HEADWATER_")}
        return subprocess.Popen(
            [sys.executable, "-m", "headwater", *self._line(command, *arguments)],
            cwd=self.bench.folder,
            env={**inherited, **self._environment(), **(settings or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, in this process."""
        line = self._line(command, *arguments)
        return inside.command(line, self.bench.folder, self._environment())

    def _line(self, command: str, *arguments: str) -> list[str]:
        return ["dead-letters", command, self.product, *arguments]

    def _environment(self) -> dict[str, str]:
        return {
            "HEADWATER_KAFKA": self.bench.addresses.kafka,
            "HEADWATER_REGISTRY": self.bench.addresses.registry,
            "HEADWATER_ENVIRONMENT": "dev",
            "HEADWATER_INSTANCE": "k",
            "HEADWATER_ACTOR": "tester",
            "HEADWATER_RELEASE": "r2",
        }

    def answer(self, command: str, *arguments: str) -> dict[str, Any]:
        """What a command that succeeds answers as JSON."""
        done = self.command(command, *arguments, "--format", "json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def statuses(self) -> dict[str, int]:
        """How many letters there are of each status."""
        statuses = [each["status"] for each in self.answer("list", "--all")["letters"]]
        return {status: statuses.count(status) for status in set(statuses)}

    def published(self) -> pl.DataFrame:
        """What was published so far, in the order of each partition."""
        settled(self.bench.topics, self.product)
        return self.bench.visible(self.product)

    def outputs(self) -> list[str]:
        """The flights published so far, sorted."""
        found = self.published()
        return sorted(found["flight_id"]) if found.height else []


@pytest.fixture(scope="session")
def bench(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A project on the session's stack."""
    return Bench(stack, tmp_path_factory.mktemp("dead-letters"))


@pytest.fixture(scope="session")
def flights() -> pl.DataFrame:
    """Departures that were not cancelled."""
    return departures(data_directory()).filter(pl.col("dep_delay").is_not_null()).head(3_000)


@pytest.fixture
def set_aside(bench: Bench, flights: pl.DataFrame) -> Callable[[str, int], SetAside]:
    """Makes a product that has read 60 flights and set so many of them aside."""

    def make(name: str, bad: int) -> SetAside:
        fed = with_bad(flights.head(60), range(0, 3 * bad, 3))
        world = SetAside(bench, name, fed)
        world.run()
        return world

    return make


def with_bad(rows: pl.DataFrame, places: Sequence[int] | range) -> pl.DataFrame:
    """These rows, with a carrier that the first release cannot take at some places."""
    is_bad = pl.int_range(pl.len()).is_in(list(places))
    return rows.with_columns(carrier=pl.when(is_bad).then(pl.lit("BAD")).otherwise("carrier"))


@pytest.fixture
def world() -> World:
    """A product in memory, without letters."""
    return World()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a group to be empty, for a transaction to end, or for state."""
    for name in ("EMPTY_GROUP_S", "LOOK_S", "UNDECIDED_S"):
        monkeypatch.setattr(standing, name, 0.0)
    monkeypatch.setattr(state, "time", PASSING)
