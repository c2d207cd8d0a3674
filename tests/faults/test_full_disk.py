"""A `headwater run` whose state lies on a disk that is really full: it waits, and goes on."""

import errno
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from tests.faults import latest
from tests.faults.harness import START_S, Bench, Run, until

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

DISK_MB: Final = 64
MOUNT: Final = 'mount -t tmpfs -o size="$1"m tmpfs "$2" && echo mounted && exec cat'


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty filesystem of its own, in a namespace that goes with the process that holds it."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT]
    with subprocess.Popen(
        [*command, "sh", str(DISK_MB), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            pytest.skip("this machine lets nobody mount a filesystem, not even in a namespace")
        yield Path(f"/proc/{holder.pid}/root{tmp_path}")
        holder.communicate()  # which closes its standard input, and so ends it


def fill(ballast: Path) -> None:
    """Take all room there is left on the disk."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def told(run: Run, event: str) -> dict[str, Any]:
    """The one line of the log that tells this."""
    lines = [json.loads(line) for line in run.errors().splitlines()]
    (line,) = (line for line in lines if line["event"] == event)
    return dict(line)


@pytest.mark.timeout(240)
def test_a_run_waits_for_room_and_goes_on_exactly_once(bench: Bench, disk: Path) -> None:
    """Metric, probe and log tell; its place in the group is kept, and no record is lost."""
    source, product = "faults.full-in", "faults.full"
    feed = latest.Feed(bench, source, random.Random(8))
    local = latest.declare(bench, product, source).parent
    local.parent.mkdir(parents=True, exist_ok=True)
    local.symlink_to(disk)
    feed.write(8_000)
    with bench.run(product, until_end=False) as run, closing(bench.gauge(product, source)) as gauge:
        until(lambda: bench.has_read(product, source), START_S, "the first records are read")

        def waits() -> bool:
            """Whether there is no room for what came; what files had in reserve is used up."""
            fill(disk / "ballast")
            if bench.has_read(product, source):
                feed.write(4_000)
            return run.metric("headwater_waiting") == 1

        until(waits, START_S, "it waits for room")
        assert "The disk refuses the state in" in told(run, "loop.waiting")["reason"]
        until(lambda: run.probe("/readyz") == 503, START_S, "it is not ready")
        assert run.probe("/livez") == 200
        stands = gauge.total()
        feed.write(4_000)
        assert (run.metric("headwater_waiting"), bench.members(product)) == (1, 1)
        (disk / "ballast").unlink()
        gauge.wait_beyond(stands, run)
        until(lambda: bench.has_read(product, source), START_S, "all records are read")
        until(lambda: run.metric("headwater_waiting") == 0, START_S, "it waits no more")
        assert told(run, "loop.waited")["seconds"] > 0
        run.send(signal.SIGTERM)
        assert run.exit_code() == 0, run.errors()
    latest.check(bench, product, source)
