"""`headwater snapshot --every` is killed again and again while its product publishes."""

import random
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import polars as pl
import pytest
from tests.snapshot.test_role import Site, site, until

import headwater
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.contract import Decoder
from headwater.snapshot.notices import TOPIC, notice_contract

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

__all__ = ["site"]

ROUNDS: Final = 12
LONGEST_S: Final = 3.0  # that a role lives from its first turn on: some cuts, notices and an upkeep
CARTS: Final = 25  # published at a time


def test_a_role_killed_at_any_time_takes_and_announces_everything_once(site: Site) -> None:
    """A real broker and `kill -9`: every cut is proved, notices are complete and in order."""
    chance, sold = random.Random(ROUNDS), 0
    site.start("run", site.product)
    for _ in range(ROUNDS):
        role = site.start("snapshot", site.product, "--every", "200ms")
        until(lambda: any(each["event"] == "snapshot.serving" for each in site.told), "no role")
        ends_s = time.monotonic() + chance.uniform(0, LONGEST_S)
        while time.monotonic() < ends_s:
            site.publish(range(sold, sold + CARTS))
            sold += CARTS
            assert role.poll() is None
        role.kill()
        role.wait()
    until(lambda: _published(site) == sold, "not everything is published")
    for command in (["snapshot", site.product], ["verify", site.product, "--all"]):
        assert site.start(*command).wait(300) == 0
    with headwater.open(
        site.product, kafka=site.stack.kafka, registry=site.stack.registry
    ) as product:
        versions = [each.version for each in product.cuts()]
        rows = product.snapshot().lazy().collect()
    assert rows.height == sold
    assert rows.select("id").n_unique() == sold
    assert list(_announced(site)) == versions


def _published(site: Site) -> int:
    with headwater.open(
        site.product, kafka=site.stack.kafka, registry=site.stack.registry
    ) as product:
        return sum(frame.height for frame in product.read("beginning", "now"))


def _announced(site: Site) -> Iterator[int]:
    """The table version of each notice of the product, oldest first."""
    topics = KafkaTopics(site.kafka)
    ranges = {p: (0, end) for p, end in topics.ends(TOPIC).items()}
    with (
        closing(KafkaLogReader(site.kafka)) as reader,
        closing(SchemaRegistry({"url": site.stack.registry})) as registry,
    ):
        for records in reader.read(ranges, max_records=10_000):
            values = [value for value in records.values if value is not None]
            decoded = Decoder(notice_contract(), registry.schema).decode(values)
            told = decoded.frame.filter(pl.col("product") == site.product)
            yield from told["version"]
