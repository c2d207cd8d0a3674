"""Steps with state under `kill -9`: outputs, changelog and local store are those of one pass."""

import random
import shutil
from contextlib import closing

import pytest
from confluent_kafka.admin import AdminClient
from tests.faults import latest
from tests.faults.harness import BUSY, START_S, Bench, Run, until
from tests.faults.latest import EVENTS

from headwater.ports import TopicSettings

pytestmark = pytest.mark.kafka


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
