"""`headwater snapshot` and `headwater verify` as a user runs them, on a real broker."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable
from tests.snapshot.compaction import compact
from tests.topics.settled import settled

from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.addresses import resolve
from headwater.assembly.project import load_product
from headwater.assembly.snapshots import Snapshots
from headwater.config import load_settings
from headwater.contract import Encoder, load_contract
from headwater.embedded import Addresses
from headwater.model import SchemaRef
from headwater.ports import TopicSettings

pytestmark = pytest.mark.kafka

SCHEMA = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "doc": "One order.",
    "key": "id",
    "fields": [
        {"name": "id", "type": "string", "doc": "The order."},
        {"name": "amount", "type": "double", "doc": "What it costs."},
    ],
}
PRODUCT = """
from headwater import DataProduct

product = DataProduct(name="{topic}", owner="shop@example.org")
product.publish(product.stream("shop.carts", contract=1), contract=1)
"""


@dataclass(frozen=True)
class Project:
    """A product whose log was published, in a folder of its own."""

    root: Path
    topic: str
    stack: Addresses

    @property
    def table(self) -> Path:
        return self.root / ".headwater" / "snapshots" / self.topic

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command in the project's folder."""
        addresses = {
            "HEADWATER_KAFKA": self.stack.kafka,
            "HEADWATER_REGISTRY": self.stack.registry,
            "HEADWATER_ENVIRONMENT": "dev",
        }
        program = "import sys; from headwater.cli.main import main; sys.exit(main())"
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=self.root,
            env={**os.environ, **addresses},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a command."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err

    def publish(self, numbers: Sequence[int], version: int = 1) -> None:
        """Publish orders in one transaction, under a version of the contract; they can be read."""
        contract = load_contract(self.root / "schemas", self.topic, version)
        with closing(SchemaRegistry({"url": self.stack.registry})) as registry:
            registered = registry.register(
                f"{self.topic}-value", contract.text, compatibility=contract.compatibility
            )
        frame = pl.DataFrame(
            {"id": [f"order-{n}" for n in numbers], "amount": [n / 4 for n in numbers]}
        )
        encoded = Encoder(contract, registered.schema_id).encode(frame)
        producer = Producer(
            {"bootstrap.servers": self.stack.kafka, "transactional.id": self.topic, "log_level": 2}
        )
        producer.init_transactions(20)
        producer.begin_transaction()
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            producer.produce(self.topic, value, key)
        producer.commit_transaction(20)
        self.await_end()

    def await_end(self) -> None:
        """Until all that was committed can be read."""
        settled(KafkaTopics({"bootstrap.servers": self.stack.kafka}), self.topic)


@pytest.fixture
def project(tmp_path: Path, stack: Addresses) -> Project:
    """A project with two thousand published orders."""
    topic = f"shop.orders-{uuid.uuid4().hex[:8]}"
    folder = topic.replace(".", "/").replace("-", "_")
    for name, schema in ((folder, SCHEMA), ("shop/carts", SCHEMA)):
        (tmp_path / "schemas" / name).mkdir(parents=True)
        (tmp_path / "schemas" / name / "v1.avsc").write_text(json.dumps(schema))
    (tmp_path / "products" / folder).mkdir(parents=True)
    (tmp_path / "products" / folder / "product.py").write_text(PRODUCT.format(topic=topic))
    KafkaTopics({"bootstrap.servers": stack.kafka}).create([TopicSettings(topic, 2, "log")])
    project = Project(tmp_path, topic, stack)
    project.publish(range(2_000))
    return project


def test_a_snapshot_is_taken_verified_and_found_changed(project: Project) -> None:
    """The whole way: nothing, a cut, a further cut, equal; then a row is changed by hand."""
    assert project.run("verify", project.topic)[0] == 2
    code, out, err = project.run("snapshot", project.topic)
    assert (code, err) == (0, "")
    assert "2,000 rows taken in 1 commit" in out
    project.publish(range(2_000, 2_500))
    code, out, _ = project.run("snapshot", project.topic, "--format", "json")
    taken = json.loads(out)
    assert (code, taken["rows"], taken["rows_total"]) == (0, 500, 2_500)
    assert "nothing new" in project.run("snapshot", project.topic)[1]
    code, out, _ = project.run("verify", project.topic, "--full", "--format", "json")
    verdict = json.loads(out)
    assert (code, verdict["outcome"], verdict["sampled"]) == (0, "equal", 2_500)
    DeltaTable(project.table).update(predicate="id = 'order-77'", updates={"amount": "0.5"})
    code, out, err = project.run("verify", project.topic)
    assert code == 1
    assert "changed: differs between log and snapshot" in out
    assert err.startswith("DIFFERENT: ")
    with closing(SchemaRegistry({"url": project.stack.registry})) as registry:
        subject = registry.latest(f"{project.topic}-snapshot")
    assert subject is not None
    named = {"subject": f"{project.topic}-value", "contractVersion": 1}
    assert json.loads(subject.schema)["snapshotOf"] == named
    assert [field["name"] for field in json.loads(subject.schema)["fields"]] == [
        "id",
        "amount",
        "_partition",
        "_offset",
        "_timestamp",
    ]


def test_a_log_is_verified_whatever_its_schema_calls_a_rule(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older schema may hold rules that are none today: nobody asks them of the log."""
    assert project.run("snapshot", project.topic)[0] == 0
    registered = SchemaRegistry.schema

    def with_a_sentence(registry: SchemaRegistry, reference: SchemaRef) -> str:
        return json.dumps(json.loads(registered(registry, reference)) | {"rules": "see the wiki"})

    monkeypatch.setattr(SchemaRegistry, "schema", with_a_sentence)
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("HEADWATER_KAFKA", project.stack.kafka)
    monkeypatch.setenv("HEADWATER_REGISTRY", project.stack.registry)
    with closing(Snapshots(load_product(project.topic), resolve(load_settings()))) as snapshots:
        verdict = snapshots.verify(project.topic, lambda _done, _total: None, full=True)
    assert (verdict.outcome, verdict.sampled) == ("equal", 2_000)


def test_two_processes_that_race_take_every_row_once(project: Project) -> None:
    """Whoever loses says so in one sentence; the table holds each row once."""
    racers = [project.start("snapshot", project.topic) for _ in range(3)]
    ends = [(racer.communicate(timeout=90), racer.returncode) for racer in racers]
    assert 0 in [code for _, code in ends]
    for (_, err), code in ends:
        assert code in {0, 75}
        assert err == "" if code == 0 else err.startswith("SNAPSHOT_TAKEN: Another process")
    assert DeltaTable(project.table).count() == 2_000
    assert project.run("verify", project.topic)[0] == 0


def test_a_stopped_broker_is_one_sentence(project: Project) -> None:
    """No stack trace and no half snapshot when nothing answers."""
    away = Project(project.root, project.topic, Addresses("127.0.0.1:9", project.stack.registry))
    both = [away.start(command, project.topic) for command in ("snapshot", "verify")]
    for process in both:
        _, err = process.communicate(timeout=90)
        assert process.returncode in {2, 69}
        assert len(err.splitlines()) == 1, err
    assert not project.table.exists()


NOTE = {"name": "note", "type": "string", "default": "none", "doc": "What was said."}


def test_a_snapshot_goes_on_under_the_next_version_of_the_contract(project: Project) -> None:
    """The table gets the new column with its first rows, and stays proved from the beginning."""
    assert project.run("snapshot", project.topic)[0] == 0
    folder = project.topic.replace(".", "/").replace("-", "_")
    newer = SCHEMA | {"fields": [*SCHEMA["fields"], NOTE]}
    (project.root / "schemas" / folder / "v2.avsc").write_text(json.dumps(newer))
    file = project.root / "products" / folder / "product.py"
    file.write_text(file.read_text().replace("), contract=1)", "), contract=2)"))
    project.publish(range(2_000, 2_100), version=2)
    code, out, err = project.run("snapshot", project.topic, "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out)["rows_total"] == 2_100
    code, out, _ = project.run("verify", project.topic, "--full", "--format", "json")
    assert (code, json.loads(out)["outcome"]) == (0, "equal")
    stored = DeltaTable(project.table).to_pyarrow_table()
    assert stored["note"].null_count == 2_000
    code, out, _ = project.run("read", project.topic, "--until", "now", "--format", "json")
    assert code == 0
    assert {json.loads(line)["note"] for line in out.splitlines()} == {"none"}


LATEST = """
from headwater import DataProduct, Snapshot

product = DataProduct(
    name="{topic}", owner="shop@example.org", snapshot=Snapshot(every="1h", mode="latest")
)
product.publish(product.stream("shop.carts", contract=1), contract=1)
"""


def test_the_latest_of_each_key_is_taken_from_a_log_while_it_is_compacted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the broker really drops is no loss; until the next cut, it can only not be proved."""
    folder = project.topic.replace(".", "/").replace("-", "_")
    (project.root / "products" / folder / "product.py").write_text(
        LATEST.format(topic=project.topic)
    )
    compact(project.topic, project.stack.kafka)
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("HEADWATER_KAFKA", project.stack.kafka)
    monkeypatch.setenv("HEADWATER_REGISTRY", project.stack.registry)
    monkeypatch.setenv("HEADWATER_ENVIRONMENT", "dev")

    def told(_done: int, _total: int) -> None:
        pass

    with closing(Snapshots(load_product(project.topic), resolve(load_settings()))) as snapshots:
        assert snapshots.take(project.topic, told).rows_total == 2_000
        project.publish(range(100))
        _delete(project, range(50, 60))
        assert snapshots.take(project.topic, told).rows_total == 1_990
        assert snapshots.verify(project.topic, told, full=True).outcome == "equal"
        project.publish(range(200))
        _await_compaction(project, lambda: project.publish(range(1_990, 2_000)))
        *_, verdict = snapshots.verify_all(project.topic, told, full=False)
        assert (verdict.outcome, verdict.difference_count) == ("unverifiable", 0)
        assert "may have left the log" in verdict.undecided[0]
        assert snapshots.take(project.topic, told).rows_total == 2_000
    found = DeltaTable(project.table).to_pyarrow_table()["id"].to_pylist()
    assert sorted(found) == sorted(f"order-{n}" for n in range(2_000))


def _delete(project: Project, numbers: Sequence[int]) -> None:
    producer = Producer({"bootstrap.servers": project.stack.kafka, "log_level": 2})
    for number in numbers:
        producer.produce(project.topic, None, f"order-{number}")
    assert producer.flush(20) == 0


def _await_compaction(project: Project, publish: Callable[[], None]) -> None:
    """Until records left the log; the newest segment stays, so others must follow."""
    config = {"bootstrap.servers": project.stack.kafka}
    topics, deadline_s = KafkaTopics(config), time.monotonic() + 60
    with closing(KafkaLogReader(config)) as reader:
        while True:
            publish()
            beginnings, ends = topics.beginnings(project.topic), topics.ends(project.topic)
            ranges = {p: (beginnings[p], end) for p, end in ends.items()}
            parts = reader.read(ranges, max_records=20_000)
            if sum(map(len, parts)) < 2_100:
                return
            assert time.monotonic() < deadline_s, "nothing was compacted"


def test_repeated_snapshots_end_with_a_stop_signal(project: Project) -> None:
    """`--every` takes what comes, and SIGTERM ends it cleanly."""
    process = project.start("snapshot", project.topic, "--every", "1s", "--format", "json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["rows"] == 2_000
    project.publish(range(2_000, 2_100))
    rows = 0
    while rows == 0:
        rows = json.loads(process.stdout.readline())["rows"]
    assert rows == 100
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
