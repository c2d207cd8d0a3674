"""A temporary stack ends with the process that asked for it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.embedded import process
from headwater.embedded.home import Home

PROGRAM = """
import signal, sys
from pathlib import Path
from headwater.embedded.guard import temporary
with temporary(Path(sys.argv[1])):
    print("up", flush=True)
    signal.pause()
"""


@pytest.mark.kafka
def test_a_killed_session_leaves_no_stack_behind(tmp_path: Path) -> None:
    """Even `kill -9` of the session ends its stack and frees its data; the logs stay."""
    home = Home.within(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "up\n"
        records = [home.running(name) for name in ("kafka", "registry")]
        session.send_signal(signal.SIGKILL)
    started = [record for record in records if record is not None]
    assert len(started) == 2
    assert process.wait_until(lambda: not any(map(process.is_running, started)), 60)
    assert process.wait_until(lambda: not home.data("registry").exists(), 60)
    assert home.log("kafka").exists()
