"""Steps with state under `kill -9`: outputs, changelog and local store are those of one pass."""

import random
import shutil
from contextlib import closing
from typing import Final, Literal

import pytest
from confluent_kafka.admin import AdminClient
from tests.faults import latest
from tests.faults.harness import BUSY, START_S, Bench, Run, until
from tests.faults.latest import EVENTS, PARTITIONS

from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.ports import Mark, TopicSettings

pytestmark = pytest.mark.kafka

JOINED: Final = """
from headwater import DataProduct

product = DataProduct("{product}", owner="me")
rows = product.table("{source}-table", contract=1)
flow = product.stream("{source}", contract=1).join(rows, on="id", columns={{"n": "m"}})
product.publish(flow.select("id", "at", "n"), contract=1)
"""


def _dies(bench: Bench, run: Run, product: str, source: str, lives: int) -> None:
    """Wait until the process is killed, at a named place or by us after some commits."""
    with closing(bench.gauge(product, source)) as gauge:
        for _ in range(lives):
            gauge.wait_beyond(gauge.total(), run)
        run.kill()
        assert 0 < gauge.total() < EVENTS, "this kill does not count"


@pytest.mark.timeout(300)
@pytest.mark.faults
def test_kills_change_no_output_and_no_state(bench: Bench) -> None:
    """Killed in three places, once with its disk lost: all is as if nothing had happened."""
    source, product = "faults.seen", "faults.latest"
    feed = latest.Feed(bench, source, random.Random(5))
    for _ in range(20):
        feed.write(EVENTS // 20)
    local = latest.declare(bench, product, source)
    for point in ("after_produce", "during_commit"):
        fail = {"HEADWATER_FAIL": f"{point}:kill@25"}
        with bench.run(product, settings={**BUSY, **fail}) as run:
            assert run.exit_code(START_S) == -9
        with closing(bench.gauge(product, source)) as gauge:
            assert 0 < gauge.total() < EVENTS, "this kill does not count"
    with bench.run(product, settings=BUSY) as run:
        _dies(bench, run, product, source, 3)
    shutil.rmtree(local)
    with bench.run(product) as run:
        assert run.exit_code() == 0
    latest.check(bench, product, source)


@pytest.mark.timeout(240)
@pytest.mark.faults
def test_a_changelog_that_is_gone_or_does_not_fit_is_refused(bench: Bench) -> None:
    """Deleted with its state in it, with too few partitions, not compacted: 78 each, and why."""
    source, product = "faults.short", "faults.changelog-lost"
    latest.Feed(bench, source, random.Random(6)).write(400)
    local = latest.declare(bench, product, source)
    with bench.run(product) as run:
        assert run.exit_code() == 0
    changelog = f"{product}.latest-1.changelog"
    first_id = bench.topics.topic_id(changelog)
    admin = AdminClient({**bench.kafka})
    admin.delete_topics([changelog])[changelog].result(20)
    until(lambda: bench.topics.partitions(changelog) is None, START_S, "the topic is gone")
    with bench.run(product) as run:  # in dev it is made anew, which does not bring the state back
        assert run.exit_code() == 78
        assert f"CHANGELOG_LOST: {changelog} was deleted or made anew since" in run.errors()
    assert bench.topics.topic_id(changelog) != first_id
    assert local.exists()
    for other, partitions, said in (
        ("faults.changelog-short", 1, "CO_PARTITIONING: {source} has 4, {topic} has 1 partitions"),
        ("faults.changelog-log", 4, "topic {topic}: cleanup.policy is delete, expected compact"),
    ):
        latest.declare(bench, other, source)
        wrong = f"{other}.latest-1.changelog"
        bench.topics.create([TopicSettings(wrong, partitions, "log")])
        with bench.run(other) as run:
            assert run.exit_code() == 78
            assert said.format(source=source, topic=wrong) in run.errors()


@pytest.mark.timeout(300)
@pytest.mark.faults
def test_local_state_that_is_damaged_is_made_anew_and_that_of_a_later_release_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes flipped in files of each task: nothing shows. A mark of the future: 78, until it goes.

    And workers that would have no partition: 78, with both numbers.
    """
    source, product = "faults.damaged-in", "faults.damaged"
    feed = latest.Feed(bench, source, random.Random(6))
    feed.write(4_000)
    local = latest.declare(bench, product, source)
    with bench.run(product) as run:
        assert run.exit_code() == 0, run.errors()
    stores = RocksDbStores(local, RocksDbMemory(8 << 20))
    for task in range(PARTITIONS):
        stores.open(task).close()  # what is in its write-ahead log goes to a file
        files = list(local.glob(f"{task}/rocksdb/*.sst"))
        assert files
        for file in files:
            content = bytearray(file.read_bytes())
            content[10] ^= 0xFF
            file.write_bytes(content)
    feed.write(400)
    with bench.run(product) as run:
        assert run.exit_code() == 0, run.errors()
    latest.check(bench, product, source)
    with monkeypatch.context() as patch, closing(stores.open(0)) as store:
        patch.setattr("headwater.state.marks.FORMAT", 2)
        store.write([], [], Mark("later", 1, 1))
    feed.write(400)
    with bench.run(product) as run:
        assert run.exit_code() == 78
        assert "STATE_FORMAT" in run.errors()
    shutil.rmtree(local / "0")
    with bench.run(product, "--workers", str(PARTITIONS + 1)) as run:
        assert run.exit_code() == 78
        said = f"TOO_MANY_WORKERS: {product}: --workers 5, and {source} has {PARTITIONS} partition"
        assert said in run.errors()
    with bench.run(product) as run:
        assert run.exit_code() == 0, run.errors()
    latest.check(bench, product, source)


@pytest.mark.timeout(240)
@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "partitions", "kind", "said"),
    [
        ("few", 2, "table", "{source} has 4 and its table {source}-table 2; write"),
        ("kept", PARTITIONS, "log", "TABLE_NOT_COMPACTED: "),
    ],
)
def test_a_table_whose_topic_does_not_fit_is_refused(
    bench: Bench, name: str, partitions: int, kind: Literal["log", "table"], said: str
) -> None:
    """Too few partitions, or not compacted: 78 before the first record, and why."""
    source, product = f"faults.{name}-in", f"faults.{name}"
    latest.Feed(bench, source, random.Random(6)).write(10)
    latest.write_contract(bench, f"{source}-table")
    bench.topics.create([TopicSettings(f"{source}-table", partitions, kind)])
    latest.declare(bench, product, source, JOINED)
    with bench.run(product) as run:
        assert run.exit_code() == 78
        assert said.format(source=source) in run.errors()
    assert bench.topics.partitions(product) is None
