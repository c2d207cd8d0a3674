"""What the fault tests work with: products of their own, real child processes, and the checkers."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import polars as pl
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.flights import SLICE_ROWS
from headwater.assembly.registration import lookup_ids, register
from headwater.contract import Contract, Decoder, Encoder, load_contract
from headwater.embedded import Addresses
from headwater.model import Partition, RawRecord
from headwater.ports import TopicSettings
from headwater.product.names import folder_of

REPOSITORY: Final = Path(__file__).parents[2]
INPUT: Final = "operations.departures"
OUTPUT: Final = "operations.departure-delays"
PRODUCT: Final = REPOSITORY / "tests/stateless_delays.txt"

START_S: Final = 60.0  # from starting a process to its first commit, on a crowded machine
END_S: Final = 90.0  # to the end of the largest input here
EXPIRED_S: Final = 40.0  # transaction timeout 10 s, session timeout 12 s, on a crowded machine
LOOK_S: Final = 0.005  # how often a condition outside is looked at again

PASSING: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
    }
)

BUSY: Final = {"HEADWATER_POLL_SIZE": "1000", "HEADWATER_COMMIT_INTERVAL": "5ms"}
"""Settings that make many small transactions, so that a fault finds one open."""


class NeverError(AssertionError):
    """A condition did not come true in time."""


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait until `condition` holds; looks again every LOOK_S seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise NeverError(f"not within {timeout_s:g} s: {what}")
        time.sleep(LOOK_S)


class Run:
    """One `headwater run` as a child process. Leaving the block ends it if it still lives."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._err = (folder / f"{time.monotonic_ns()}.err").open("w+")
        self._out = (folder / f"{time.monotonic_ns()}.out").open("w+")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HEADWATER_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headwater", "run", *arguments],
            cwd=folder,
            env={**inherited, **environment},
            stdout=self._out,
            stderr=self._err,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        if error is not None:
            error.add_note(f"the process said: {self.errors()[-3000:]}")
        self._err.close()
        self._out.close()

    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return Path(self._err.name).read_text()

    def output(self) -> str:
        """What it wrote to standard output so far."""
        return Path(self._out.name).read_text()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would, and wait for the kernel to say so."""
        self.process.kill()
        self.process.wait(10)

    def ended(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def exit_code(self, timeout_s: float = END_S) -> int:
        """The exit code; raises subprocess.TimeoutExpired."""
        return self.process.wait(timeout_s)

    def is_stopped(self) -> bool:
        """Whether a SIGSTOP holds it."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    def probe(self, path: str) -> int:
        """The HTTP status of a probe; 0 while nothing listens yet."""
        return self._get(path)[0]

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = [line.rpartition(" ") for line in self._get("/metrics")[1].splitlines()]
        return sum(float(value) for series, _, value in lines if series.split("{")[0] == name)

    def _get(self, path: str) -> tuple[int, str]:
        port = re.search(r'"port": (\d+)', self.errors())
        if port is None:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}{path}", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""


class Bench:
    """A project on disk and the broker of the session. Names here are used by no other test."""

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        self.addresses = addresses
        self.folder = folder
        self.kafka = {"bootstrap.servers": addresses.kafka}
        self.topics = KafkaTopics(self.kafka)
        self._names = 0

    # -- inputs and products -------------------------------------------------------------------

    def source(self, name: str, frames: Sequence[pl.DataFrame] = (), partitions: int = 4) -> str:
        """A topic `faults.<name>` of departures, filled with `frames` in their order."""
        topic = f"faults.{name}"
        self._copy_contract(INPUT, topic)
        self.topics.create([TopicSettings(topic, partitions, "log")])
        writer = BulkWriter(self.kafka)
        encoder = self.encoder(topic)
        for frame in frames:
            for rows in frame.iter_slices(SLICE_ROWS):
                encoded = encoder.encode(rows.with_row_index("_row"))
                assert not encoded.quarantined
                writer.write(topic, encoded.keys, encoded.values)
        writer.flush()
        return topic

    def product(self, name: str, source: str, text: str | None = None) -> str:
        """A product `faults.<name>` that reads `source`: the delays, or what `text` declares."""
        product = f"faults.{name}"
        self._copy_contract(OUTPUT, product)
        text = PRODUCT.read_text() if text is None else text
        file = self.folder / "products" / folder_of(product) / "product.py"
        file.parent.mkdir(parents=True)
        file.write_text(text.replace(OUTPUT, product).replace(INPUT, source))
        return product

    def contract(self, topic: str) -> Contract:
        """The contract of a topic made here."""
        return load_contract(self.folder / "schemas", topic, 1)

    def encoder(self, topic: str) -> Encoder:
        """An encoder of a topic's contract, registered first."""
        contract = self.contract(topic)
        with closing(SchemaRegistry({"url": self.addresses.registry})) as registry:
            register(contract, registry)
            return Encoder(contract, *lookup_ids([contract], registry)[topic])

    def _copy_contract(self, original: str, topic: str) -> None:
        file = self.folder / "schemas" / folder_of(topic) / "v1.avsc"
        file.parent.mkdir(parents=True, exist_ok=True)
        origin = REPOSITORY / "schemas" / folder_of(original) / "v1.avsc"
        file.write_text(origin.read_text())

    # -- processes -----------------------------------------------------------------------------

    def run(
        self,
        *products: str,
        until_end: bool = True,
        instance: str = "k",
        settings: Mapping[str, str] | None = None,
    ) -> Run:
        """Start `headwater run`; further `settings` are environment variables."""
        environment = {
            "HEADWATER_KAFKA": self.addresses.kafka,
            "HEADWATER_REGISTRY": self.addresses.registry,
            "HEADWATER_ENVIRONMENT": "dev",
            "HEADWATER_INSTANCE": instance,
            "HEADWATER_LOG_FORMAT": "json",
            **(settings or {}),
        }
        options = ["--until-end"] if until_end else []
        return Run(self.folder, [*products, *options, "--format", "json"], environment)

    # -- what the broker says ------------------------------------------------------------------

    def gauge(self, product: str, source: str) -> "Gauge":
        """Looks at the committed positions of a product, cheaply and often."""
        return Gauge(self.kafka, product, source, self.topics.partitions(source) or 0)

    def records(self, topic: str) -> list[RawRecord]:
        """Every record a read_committed reader sees, in log order per partition."""
        with closing(KafkaLogReader(self.kafka)) as reader:
            return [
                records.raw(row)
                for records in reader.read(self._ranges(topic), max_records=SLICE_ROWS)
                for row in range(len(records))
            ]

    def visible(self, topic: str) -> pl.DataFrame:
        """The same as columns of the contract, with `_partition` and `_offset`."""
        frames = []
        with (
            closing(SchemaRegistry({"url": self.addresses.registry})) as registry,
            closing(KafkaLogReader(self.kafka)) as reader,
        ):
            decoder = Decoder(self.contract(topic), registry.schema)
            for records in reader.read(self._ranges(topic), max_records=SLICE_ROWS):
                decoded = decoder.decode(records.values)
                assert not decoded.quarantined
                places = {"_partition": records.partitions(), "_offset": records.offsets()}
                frames.append(decoded.frame.drop("_row").with_columns(pl.DataFrame(places)))
        return pl.concat(frames) if frames else pl.DataFrame()

    def _ranges(self, topic: str) -> dict[Partition, tuple[int, int]]:
        ends = self.topics.ends(topic)
        return {p: (first, ends[p]) for p, first in self.topics.beginnings(topic).items()}

    def is_settled(self, topic: str) -> bool:
        """Whether no transaction is open on the topic: read_committed end = high watermark."""
        return self.topics.ends(topic) == self.topics.high_watermarks(topic)

    def has_read(self, product: str, source: str) -> bool:
        """Whether the product's committed positions are the ends of its input."""
        return self.topics.group_offsets(product, source) == self.topics.ends(source)

    def members(self, group: str) -> int:
        """The members of a group; one that was stopped counts until its session times out."""
        admin = AdminClient({**self.kafka, "log_level": 2})
        found = admin.describe_consumer_groups([group], request_timeout=5)[group].result(10)
        return len(found.members)

    # -- the checkers --------------------------------------------------------------------------

    def check(self, product: str, source: str, fed: pl.DataFrame) -> None:
        """Every expected output exactly once and in order, nothing else, no lag, nothing open.

        The expectation is computed from the fed frame alone.
        """
        until(lambda: self.is_settled(product), 20, f"{product}: every transaction ended")
        wanted = delays(fed)
        found = self.visible(product)
        repeated = found.height - found["flight_id"].n_unique()
        assert repeated == 0, f"{repeated} outputs are there more than once"
        missing = wanted.join(found, on="flight_id", how="anti").height
        extra = found.join(wanted, on="flight_id", how="anti").height
        assert (missing, extra) == (0, 0), f"{missing} outputs are missing, {extra} are unknown"
        columns = [name for name in wanted.columns if name != "_order"]
        assert (
            found.select(columns).sort("flight_id").equals(wanted.select(columns).sort("flight_id"))
        )
        self._check_order(found, wanted)
        assert self.has_read(product, source), "a lag is left"

    @staticmethod
    def _check_order(found: pl.DataFrame, wanted: pl.DataFrame) -> None:
        # input and output share key, partitioner and count: each partition keeps the fed order
        order = found.join(wanted.select("flight_id", "_order"), on="flight_id").sort(
            "_partition", "_offset"
        )
        steps = order.select(pl.col("_order").diff().over("_partition")).to_series().drop_nulls()
        assert (steps > 0).all(), "a partition lost the order of its input"


class Gauge:
    """The committed positions of one group on one topic, as they are now."""

    def __init__(self, kafka: Mapping[str, str], group: str, topic: str, partitions: int) -> None:
        settings = {**kafka, "group.id": group, "log_level": 2}
        # the stable one waits for an open transaction that holds positions: it tells that there is
        self._consumer = Consumer({**settings, "isolation.level": "read_uncommitted"})
        self._stable = Consumer({**settings, "isolation.level": "read_committed"})
        self._asked = [TopicPartition(topic, index) for index in range(partitions)]

    def is_stable(self) -> bool:
        """Whether no open transaction holds positions of the group."""
        try:
            self._stable.committed(self._asked, timeout=1)
        except KafkaException as error:
            if error.args[0].code() not in PASSING:
                raise
            return False
        return True

    def positions(self) -> dict[int, int]:
        """The position per partition; absent = none."""
        answers: list[TopicPartition] = []

        def answered() -> bool:
            try:
                answers[:] = self._consumer.committed(self._asked, timeout=2)
            except KafkaException as error:
                # a young group's coordinator is still loading; a paused broker says nothing
                if error.args[0].code() not in PASSING:
                    raise
                return False
            return True

        until(answered, START_S, "the broker tells the committed positions")
        return {tp.partition: tp.offset for tp in answers if tp.offset >= 0}

    def total(self) -> int:
        """The sum of all positions: records read and committed, as logs here begin at 0."""
        return sum(self.positions().values())

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()
        self._stable.close()

    def wait_beyond(self, total: int, run: Run, timeout_s: float = START_S) -> None:
        """Wait for the next commit of `run`; it must not end before."""

        def moved() -> bool:
            return run.ended() or self.total() > total

        until(moved, timeout_s, "the next commit")
        assert not run.ended(), f"it ended with {run.exit_code()}"


def delays(fed: pl.DataFrame) -> pl.DataFrame:
    """What the product makes of departures, computed without it; `_order` is the fed order."""
    distance = pl.col("distance")
    return (
        fed.with_row_index("_order")
        .with_columns(pl.col("_order").cast(pl.Int64))
        .filter(pl.col("dep_delay").is_not_null())
        .select(
            "flight_id",
            "carrier",
            "origin",
            "dest",
            "sched_dep",
            delay_minutes="dep_delay",
            late=pl.col("dep_delay") > 15,
            speed_class=pl.when(distance < 500)
            .then(pl.lit("short"))
            .when(distance < 1500)
            .then(pl.lit("medium"))
            .otherwise(pl.lit("long")),
            _order="_order",
        )
    )
