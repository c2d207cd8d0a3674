"""Every command that takes or reads a snapshot, on every table format, on a real broker."""

import json
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Producer
from tests.snapshot.formats import FORMATS, IN_BUCKETS

import headwater
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.cli.main import main
from headwater.contract import Encoder, load_contract
from headwater.embedded import Addresses
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
        {"name": "amount", "type": "double", "doc": "What it costs.", "rule": "amount >= 0"},
    ],
}
PRODUCT = """
from headwater import DataProduct, Snapshot

product = DataProduct(
    name="{topic}",
    owner="shop@example.org",
    snapshot=Snapshot(every="1h", mode="{mode}", format="{format}"),
)
product.publish(product.stream("shop.carts", contract=1), contract=1)
"""

Run = Callable[..., str]


class Project:
    """A product whose log was published, in a folder of its own."""

    def __init__(self, root: Path, stack: Addresses) -> None:
        self.root, self.stack = root, stack
        self.topic = f"shop.orders-{uuid.uuid4().hex[:8]}"
        self.folder = self.topic.replace(".", "/").replace("-", "_")
        for name in (self.folder, "shop/carts"):
            (root / "schemas" / name).mkdir(parents=True)
            (root / "schemas" / name / "v1.avsc").write_text(json.dumps(SCHEMA))
        (root / "products" / self.folder).mkdir(parents=True)
        KafkaTopics({"bootstrap.servers": stack.kafka}).create(
            [TopicSettings(self.topic, 2, "log")]
        )
        self.publish(range(2_000))

    def declare(self, form: str, mode: str = "append") -> None:
        """Write the declaration."""
        text = PRODUCT.format(topic=self.topic, format=form, mode=mode)
        (self.root / "products" / self.folder / "product.py").write_text(text)

    def publish(self, numbers: range) -> None:
        """Publish orders."""
        contract = load_contract(self.root / "schemas", self.topic, 1)
        with closing(SchemaRegistry({"url": self.stack.registry})) as registry:
            registered = registry.register(
                f"{self.topic}-value", contract.text, compatibility=contract.compatibility
            )
        orders = {"id": [f"order-{n}" for n in numbers], "amount": [n / 4 for n in numbers]}
        encoded = Encoder(contract, registered.schema_id).encode(pl.DataFrame(orders))
        producer = Producer({"bootstrap.servers": self.stack.kafka, "log_level": 2})
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            producer.produce(self.topic, value, key)
        assert producer.flush(20) == 0


@pytest.fixture
def project(tmp_path: Path, stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in the working directory, and the stack in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWATER_KAFKA", stack.kafka)
    monkeypatch.setenv("HEADWATER_REGISTRY", stack.registry)
    monkeypatch.setenv("HEADWATER_ENVIRONMENT", "dev")
    return Project(tmp_path, stack)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The output of a command that ends with this exit code."""

    def run(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["headwater", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        told = capsys.readouterr()
        assert int(caught.value.code or 0) == code, told
        return told.out + told.err

    return run


@pytest.mark.parametrize("kind", [*FORMATS, *IN_BUCKETS])
def test_every_command_works_on_every_format(
    project: Project,
    run: Run,
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Taken, proved, read, queried, described; and another format than declared is refused."""
    topic, form = project.topic, kind.partition(" ")[0]
    project.declare(form)
    if kind in IN_BUCKETS:
        monkeypatch.setenv("HEADWATER_SNAPSHOTS", request.getfixturevalue("bucket"))
    if kind == "iceberg in a bucket":
        url = request.getfixturevalue("catalogue_url")
        monkeypatch.setenv("HEADWATER_ICEBERG_CATALOGUE", url)
    assert f"format {form}" in run("describe", topic)
    assert "2,000 rows taken in 1 commit" in run("snapshot", topic)
    project.publish(range(2_000, 2_500))
    assert "500 rows taken" in run("snapshot", topic)
    assert "nothing new" in run("snapshot", topic)
    assert "equal; 2 commits up to version 2, 2,500 rows" in run("verify", topic, "--full")
    assert json.loads(run("stats", topic, "--format", "json"))["rows"] == 2_500
    assert "2,000 to 2,500 rows" in run("stats", topic, "--compare", "1")
    assert "in both: 2,500" in run("overlap", topic, topic)
    assert "amount >= 0" in run("check-data", topic)
    project.publish(range(2_500, 2_510))
    read = run("read", topic, "--until", "now", "--format", "json").splitlines()
    assert len({json.loads(line)["id"] for line in read}) == len(read) == 2_510
    query = f"SELECT count(*) n, max(amount) most FROM '{topic}' WHERE amount >= 500"  # noqa: S608  # a name of this test
    assert json.loads(run("sql", query, "--format", "json")) == {"n": 500, "most": 624.75}
    assert json.loads(run("sql", query, "--live", "--format", "json"))["n"] == 510
    monkeypatch.delenv("HEADWATER_SNAPSHOTS", raising=False)  # readers follow the notice
    assert_every_reader_finds_them(headwater.open(topic))
    to = () if kind in FORMATS else ("--to", request.getfixturevalue("bucket"))
    assert "audit at version 1" in run("pin", topic, "audit", "--cut", "1", *to)
    project.declare("parquet" if form == "delta" else "delta")
    assert "ANOTHER_FORMAT" in run("snapshot", topic, *to, code=78)
    assert "equal" in run("verify", topic, *to)


def assert_every_reader_finds_them(opened: Any) -> None:
    """Polars, pyarrow, pandas and DuckDB."""
    with opened as product:
        snapshot = product.snapshot()
        assert snapshot.rows == snapshot.dataset().count_rows() == 2_500
        lazy = snapshot.lazy().filter(pl.col("amount") >= 500)
        assert lazy.select(pl.len()).collect().item() == 500
        assert len(snapshot.pandas()) == 2_500
        assert snapshot.duckdb().filter("amount >= 500").count("*").fetchall() == [(500,)]


@pytest.mark.parametrize("form", [each for each in FORMATS if each != "delta"])
def test_the_latest_of_each_key_is_kept_in_every_format(
    project: Project, run: Run, form: str
) -> None:
    """Buckets are replaced in one commit, and proved."""
    project.declare(form, "latest")
    assert "2,000 rows" in run("snapshot", project.topic)
    project.publish(range(1_000, 2_100))
    assert "2,100 rows in" in run("snapshot", project.topic)
    assert "equal" in run("verify", project.topic, "--full")
