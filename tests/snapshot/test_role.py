"""`headwater run --with-snapshots` as a user runs it, on a real broker."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

import headwater
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.contract import Encoder, load_contract
from headwater.embedded import Addresses
from headwater.ports import TopicSettings
from headwater.snapshot.notices import TOPIC, Announced, last_notice

pytestmark = pytest.mark.kafka

SCHEMA = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "doc": "One order.",
    "key": "id",
    "fields": [{"name": "id", "type": "string", "doc": "The order."}],
}
PRODUCT = """
from headwater import DataProduct, Snapshot

product = DataProduct("{product}", owner="shop@example.org", snapshot=Snapshot(every="1s"))
product.publish(product.stream("{carts}", contract=1), contract=1)
"""
WITHIN_S = 90  # on a machine with ten times the work it can do; an idle one takes five


@dataclass
class Site:
    """A product with an input of its own, and what runs it."""

    root: Path
    stack: Addresses
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def product(self) -> str:
        return f"shop.sold-{self.name}"

    @property
    def carts(self) -> str:
        return f"shop.carts-{self.name}"

    @property
    def told(self) -> list[dict[str, object]]:
        """The log lines of what was started last, and of its children."""
        lines = self._log(len(self.started)).read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def declare(self) -> None:
        """The project's files, and the input."""
        for topic in (self.product, self.carts):
            folder = self.root / "schemas" / topic.replace(".", "/").replace("-", "_")
            folder.mkdir(parents=True)
            (folder / "v1.avsc").write_text(json.dumps(SCHEMA))
        folder = self.root / "products" / self.product.replace(".", "/").replace("-", "_")
        folder.mkdir(parents=True)
        text = PRODUCT.format(product=self.product, carts=self.carts)
        (folder / "product.py").write_text(text)
        KafkaTopics(self.kafka).create([TopicSettings(self.carts, 2, "log")])

    @property
    def kafka(self) -> dict[str, str]:
        return {"bootstrap.servers": self.stack.kafka}

    def publish(self, numbers: Sequence[int]) -> None:
        """Carts that the product sells."""
        contract = load_contract(self.root / "schemas", self.carts, 1)
        with closing(SchemaRegistry({"url": self.stack.registry})) as registry:
            schema = registry.register(f"{self.carts}-value", contract.text, compatibility="NONE")
        frame = pl.DataFrame({"id": [f"cart-{n}" for n in numbers]})
        encoded = Encoder(contract, schema.schema_id).encode(frame)
        producer = Producer({**self.kafka, "log_level": 2})
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            producer.produce(self.carts, value, key)
        assert producer.flush(20) == 0

    def run(self) -> "subprocess.Popen[bytes]":
        """Start the product with its snapshots."""
        return self.start("run", self.product, "--with-snapshots")

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a command, which tells what it does where `told` looks."""
        environment = {
            "HEADWATER_KAFKA": self.stack.kafka,
            "HEADWATER_REGISTRY": self.stack.registry,
            "HEADWATER_ENVIRONMENT": "dev",
            "HEADWATER_LOG_FORMAT": "json",
        }
        with self._log(len(self.started) + 1).open("wb") as told:
            process = subprocess.Popen(
                [sys.executable, "-m", "headwater", *command],
                cwd=self.root,
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=told,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def _log(self, number: int) -> Path:
        return self.root / f"told-{number}"

    def processes(self) -> dict[int, str]:
        """Of the last run, those that still go on: id and command line."""
        group = self.started[-1].pid
        found = subprocess.run(
            ["ps", "-eo", "pid=,pgid=,stat=,args="], capture_output=True, text=True, check=True
        )
        rows = (line.split(maxsplit=3) for line in found.stdout.splitlines())
        return {
            int(pid): command
            for pid, pgid, stat, command in rows
            if int(pgid) == group and stat[0] != "Z"
        }

    def last_notice(self) -> Announced | None:
        """What readers find on the topic of notices."""
        with (
            closing(KafkaLogReader(self.kafka)) as reader,
            closing(SchemaRegistry({"url": self.stack.registry})) as registry,
        ):
            topics = KafkaTopics(self.kafka)
            return last_notice(
                self.product, self.product, topics=topics, registry=registry, reader=reader
            )


@pytest.fixture
def site(tmp_path: Path, stack: Addresses) -> Iterator[Site]:
    """A declared product that nobody runs yet."""
    site = Site(tmp_path, stack)
    site.declare()
    yield site
    for process in site.started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for something that other processes do."""
    deadline_s = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.1)


def test_snapshots_beside_a_run_are_announced_found_measured_and_end_with_it(site: Site) -> None:
    """Run, publish, notice; a reader who knows the name alone has the rows; SIGTERM ends both."""
    site.publish(range(100))
    running = site.run()

    def announced() -> bool:
        notice = site.last_notice()
        return notice is not None and _rows(site) == 100

    until(announced, "no notice")
    notice = site.last_notice()
    assert notice is not None
    assert notice.location == str(site.root / ".headwater/snapshots" / site.product)
    topics = KafkaTopics(site.kafka)
    assert notice.topic_id == topics.topic_id(site.product)
    assert topics.config(TOPIC)["cleanup.policy"] == "compact"
    (port,) = {line["port"] for line in site.told if line["event"] == "snapshot.serving"}
    labels = f'{{product="{site.product}",topic="{site.product}"}}'
    until(lambda: f"headwater_snapshot_rows{labels} 100.0" in _metrics(port), "no rows measured")
    assert f'headwater_snapshot_open_letters{{product="{site.product}"}} 0.0' in _metrics(port)
    assert len(site.processes()) == 3
    running.send_signal(signal.SIGTERM)
    assert running.wait(WITHIN_S) == 0
    assert site.processes() == {}


@pytest.mark.faults
def test_neither_outlives_a_parent_that_was_killed(site: Site) -> None:
    """A signal 9 asks nobody: the children find out by themselves. A killed child ends nobody."""
    site.publish(range(100))
    running = site.run()
    until(lambda: site.last_notice() is not None, "no notice")
    (role,) = (pid for pid, command in site.processes().items() if "headwater snapshot" in command)
    os.kill(role, signal.SIGKILL)
    until(lambda: any(x["event"] == "supervisor.attendant_ended" for x in site.told), "not told")
    assert len(site.processes()) == 2
    running.kill()
    running.wait()
    until(lambda: site.processes() == {}, "a child stays")


def _rows(site: Site) -> int:
    with headwater.open(
        site.product, kafka=site.stack.kafka, registry=site.stack.registry
    ) as product:
        return product.snapshot().lazy().collect().height


def _metrics(port: object) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", int(str(port)), timeout=60)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
