"""`headwater backfill` and then `headwater run`, on a real broker."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.reader.test_open import Published

from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.embedded import Addresses

pytestmark = pytest.mark.kafka

FRAME = 5  # bytes of a value before its fields: magic and schema id
ORDERS = 6_000
PRODUCT = """
from headwater import DataProduct

product = DataProduct("shop.{name}", owner="shop@example.org")
product.publish(product.stream("{topic}", contract=1), contract=1)
"""


class Copies:
    """A product that publishes each order again, and the processes that run it."""

    def __init__(self, orders: Published) -> None:
        self.orders, self.root = orders, orders.root
        self.name = f"copies-{uuid.uuid4().hex[:8]}"
        for topic in (orders.topic, f"shop.{self.name}"):
            folder = self.root / "schemas" / topic.replace(".", "/").replace("-", "_")
            folder.mkdir(parents=True)
            (folder / "v1.avsc").write_text(orders.contract.text)
        folder = self.root / "products" / "shop" / self.name.replace("-", "_")
        folder.mkdir(parents=True)
        product = PRODUCT.format(name=self.name, topic=orders.topic)
        (folder / "product.py").write_text(product)
        self.topics = KafkaTopics(orders.kafka)

    def start(self, *arguments: str, poll_size: int = 100) -> "subprocess.Popen[str]":
        """A command in the project's folder."""
        settings = {
            "HEADWATER_KAFKA": self.orders.stack.kafka,
            "HEADWATER_REGISTRY": self.orders.stack.registry,
            "HEADWATER_ENVIRONMENT": "dev",
            "HEADWATER_SNAPSHOTS": str(self.root),
            "HEADWATER_POLL_SIZE": str(poll_size),
            "HEADWATER_COMMIT_INTERVAL": "1ms",
        }
        program = "import sys; from headwater.cli.main import main; sys.exit(main())"
        command, *others = arguments
        return subprocess.Popen(
            [sys.executable, "-c", program, command, f"shop.{self.name}", *others],
            cwd=self.root,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def backfill(self, *, poll_size: int = 100) -> "subprocess.Popen[str]":
        """The command."""
        return self.start("backfill", "--from-snapshot", self.orders.topic, poll_size=poll_size)

    def done(self) -> int:
        """Offsets of the orders that are passed."""
        return sum(self.topics.group_offsets(f"shop.{self.name}", self.orders.topic).values())

    def bodies(self, topic: str) -> Counter[tuple[bytes | None, bytes]]:
        """Key and fields of every record of a topic."""
        found: Counter[tuple[bytes | None, bytes]] = Counter()
        first, ends = self.topics.beginnings(topic), self.topics.ends(topic)
        with closing(KafkaLogReader(self.orders.kafka)) as reader:
            for records in reader.read({p: (first[p], ends[p]) for p in ends}, max_records=10_000):
                values = [(value or b"")[FRAME:] for value in records.values]
                found.update(zip(records.keys(), values, strict=True))
        return found


@pytest.fixture
def copies(stack: Addresses, tmp_path: Path) -> Iterator[Copies]:
    """A product whose input is still empty."""
    orders = Published(stack, tmp_path)
    with closing(orders.registry):
        yield Copies(orders)


@pytest.mark.timeout(300)
def test_a_product_begins_in_a_snapshot_and_goes_on_in_the_log(copies: Copies) -> None:
    """The log is gone up to the cut, and the backfill is killed on its way: each order once."""
    orders = copies.orders
    orders.publish(ORDERS // 2)
    orders.publish(100, is_aborted=True)
    orders.take()
    orders.publish(ORDERS // 2)
    orders.take()
    published = copies.bodies(orders.topic)
    cut = copies.topics.ends(orders.topic)
    copies.topics.delete_before(cut)
    killed = copies.backfill(poll_size=10)  # so slow that a crowded machine kills it in time
    deadline = time.monotonic() + 60
    while copies.done() < ORDERS // 10 and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    out, err = killed.communicate(timeout=20)
    assert ORDERS // 10 <= copies.done() < sum(cut.values()), err
    out, err = (again := copies.backfill()).communicate(timeout=90)
    assert (again.returncode, "is read up to the cut" in out) == (0, True), err
    assert copies.done() >= sum(cut.values())
    before = copies.topics.ends(orders.topic)
    orders.publish(500)
    out, err = (run := copies.start("run", "--until-end")).communicate(timeout=90)
    assert run.returncode == 0, err
    assert copies.topics.beginnings(orders.topic) == before
    assert copies.bodies(f"shop.{copies.name}") == published + copies.bodies(orders.topic)
