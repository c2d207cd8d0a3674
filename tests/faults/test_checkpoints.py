"""State from a bucket on the real broker."""

import json
import random
import re
import shutil
import signal

import pytest
from tests.adapters.object_server import ObjectServer
from tests.faults import latest
from tests.faults.harness import END_S, Bench, until

pytestmark = pytest.mark.kafka


@pytest.mark.timeout(240)
def test_a_killed_product_with_an_empty_disk_goes_on_from_a_bucket(
    bench: Bench, object_server: ObjectServer
) -> None:
    """It says where its state comes from; outputs and state are those of one pass."""
    source, product, bucket = "faults.from-bucket", "faults.bucket-latest", "from-bucket"
    object_server.create(bucket)
    settings = {
        **object_server.environment,
        "HEADWATER_CHECKPOINTS": f"s3://{bucket}/some/prefix",
        "HEADWATER_CHECKPOINT_EVERY": "1s",
    }
    feed = latest.Feed(bench, source, random.Random(8))
    feed.write(20_000)
    local = latest.declare(bench, product, source)
    with bench.run(product, until_end=False, settings=settings) as run:
        until(lambda: bench.has_read(product, source), END_S, "all is read")
        until(lambda: all(_kept(object_server, bucket)), END_S, "a checkpoint of each task")
        run.send(signal.SIGKILL)
        run.exit_code()
    shutil.rmtree(local)
    feed.write(1_000)
    with bench.run(product, settings=settings) as run:
        assert run.exit_code() == 0, run.errors()
    told = [json.loads(line) for line in run.errors().splitlines() if line.startswith("{")]
    taken = [each["checkpoint"] for each in told if each["event"] == "loop.checkpoint_taken"]
    assert len(taken) == latest.PARTITIONS
    place = f"s3://{bucket}/some/prefix/{product}/latest-1/"
    assert all(each.startswith(place) for each in taken)
    (restored,) = (each for each in told if each["event"] == "loop.restored")
    assert restored["from_checkpoints"] > 0
    latest.check(bench, product, source)


def _kept(server: ObjectServer, bucket: str) -> list[bool]:
    """Whether there is a checkpoint of each task with something of the changelog in it."""
    names = server.ask("GET", f"/{bucket}?list-type=2")
    mark = "/0*[1-9][0-9]*-"
    return [
        re.search(f"/latest-1/[^/]+/{n}{mark}", names) is not None for n in range(latest.PARTITIONS)
    ]


def test_a_bucket_that_is_not_there_ends_the_start(
    bench: Bench, object_server: ObjectServer
) -> None:
    """Before the first record, with 78 and the reason."""
    source, product = "faults.no-bucket", "faults.no-bucket-latest"
    latest.Feed(bench, source, random.Random(9)).write(1)
    latest.declare(bench, product, source)
    settings = {**object_server.environment, "HEADWATER_CHECKPOINTS": "s3://no-such-bucket"}
    with bench.run(product, settings=settings) as run:
        assert run.exit_code() == 78
    assert "CHECKPOINT_STORE: checkpoints cannot be kept in s3://no-such-bucket" in run.errors()
