"""Child processes that outlive the command which started them.

The child writes its own record (pid and start time) before it becomes the service, so it is known
even if the command that spawned it is killed at once; and because the start time is compared, a
pid that another process got later is never touched.

Run as a script this file is that first moment of a child; it needs the standard library only.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STOP_S: Final = 20.0  # a broker writes its clean-shutdown mark in 1-3 s on an idle machine
KILL_S: Final = 5.0  # SIGKILL needs the kernel only
_POLL_S: Final = 0.05  # how often a condition is looked at again
_PROC: Final = Path("/proc")
_ENDED: Final = "Z"  # the state of a zombie, in /proc and in ps


@dataclass(frozen=True, slots=True)
class Record:
    """One started process and the port it was told to listen on."""

    pid: int
    started: str
    port: int


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `condition` came true within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def spawn(
    command: Sequence[str], *, record: Path, port: int, log: Path, env: Mapping[str, str]
) -> int:
    """Start `command` in a session of its own, output to `log`; its pid.

    The record appears before the command runs.
    """
    launcher = [sys.executable, "-I", "-S", __file__, str(record), str(port), *command]
    output = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.posix_spawn(
        sys.executable,
        launcher,
        dict(env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), output, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def read_record(path: Path) -> Record | None:
    """The record at `path`; None when there is none.

    Raises ValueError when it is no record, OSError when it cannot be read.
    """
    try:
        held = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    match held:
        # pids below 2 are whole groups of processes and the first process: never ours to signal
        case {"pid": int(pid), "started": str(started), "port": int(port)} if pid > 1 and started:
            return Record(pid, started, port)
    raise ValueError("it is no record of a process")


def is_running(record: Record) -> bool:
    """Whether that very process still runs, not merely one with its pid."""
    state, started = _state_and_start(record.pid)
    if started != record.started:
        return False
    if state == _ENDED:  # it waits for its parent to notice, which may be us
        has_ended(record.pid)
        return False
    return True


def has_ended(child: int) -> bool:
    """Whether a process that this very process spawned has ended; true for any other pid."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


def stop(record: Record) -> None:
    """End the recorded process: politely, then by force. Nothing happens if it is gone.

    Raises TimeoutError when even SIGKILL does not end it.
    """
    for number, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
        if not is_running(record):
            return
        try:
            os.kill(record.pid, number)
        except ProcessLookupError:
            return
        if wait_until(lambda: not is_running(record), patience_s):
            return
    raise TimeoutError(f"process {record.pid} does not end")


def _state_and_start(pid: int) -> tuple[str, str]:
    """The state and start of a process, as opaque words; empty when there is none."""
    return _ask_proc(pid) if _PROC.is_dir() else _ask_ps(pid)


def _ask_proc(pid: int) -> tuple[str, str]:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "", ""
    # the second field is the program's name in brackets and may hold blanks and brackets itself
    fields = stat.rpartition(")")[2].split()
    state, threads, ticks_since_boot = fields[0], int(fields[17]), fields[19]
    if state == _ENDED and threads > 1:
        state = "ending"  # the other threads still hold its port and its files
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return state, f"{boot}/{ticks_since_boot}"


def _ask_ps(pid: int) -> tuple[str, str]:
    """For systems without /proc; to the second, which still tells a recycled pid apart."""
    answer = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return state[:1], started.strip()


def _become(record: str, port: str, command: Sequence[str]) -> None:
    """Write the record of this process, then turn into `command`."""
    _, started = _state_and_start(os.getpid())
    draft = Path(f"{record}.draft")
    draft.write_text(json.dumps({"pid": os.getpid(), "started": started, "port": int(port)}))
    draft.replace(record)
    os.execv(command[0], list(command))  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    _become(sys.argv[1], sys.argv[2], sys.argv[3:])
