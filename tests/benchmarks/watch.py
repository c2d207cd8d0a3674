"""Watches a process that works through a topic: what it costs, told from outside.

The same for every engine: CPU is user and system time of the process and its children, memory the
greatest resident set of each, and progress the offsets that its group has committed.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headwater.adapters.kafka.topics import KafkaTopics

POLL_S: Final = 0.1  # between looks at the group; runs last ten seconds and more
LIMIT_S: Final = 900.0
END_S: Final = 20.0  # a drain
TOLD_BYTES: Final = 3_000  # of a log
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Goal:
    """A group's way through a topic; its first `warm_up` events are not measured."""

    kafka: str
    group: str
    topic: str
    warm_up: int
    events: int


@dataclass(slots=True)
class Sample:
    """Events committed, and what was spent until then."""

    events: int
    seconds: float
    cpu_s: float


@dataclass(slots=True)
class Watched:
    """A process and its children, as /proc tells of them."""

    pid: int
    began_s: float = field(default_factory=time.perf_counter)
    peaks_kb: dict[int, int] = field(default_factory=dict)

    def cpu_s(self) -> float:
        """User and system time of all that live, and of those the root has waited for."""
        total = 0
        for pid in self._family():
            fields = _stat(pid)
            total += sum(map(int, fields[11:13])) + sum(map(int, fields[13:15]))
            self.peaks_kb[pid] = max(self.peaks_kb.get(pid, 0), _peak_kb(pid))
        return total / TICKS

    def memory_mb(self) -> int:
        """The greatest resident sets added up."""
        return sum(self.peaks_kb.values()) >> 10

    def _family(self) -> Iterator[int]:
        yield self.pid
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        yield from map(int, children.read_text().split())


def watched(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, goal: Goal
) -> dict[str, Any]:
    """Run a command until its group has committed all events, then end it; the figures.

    Raises RuntimeError when it ends before, or takes longer than `LIMIT_S`.
    """
    path = folder / f"{goal.group}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stderr=log, stdout=log)
    try:
        return _figures(list(_samples(process, goal)), goal)
    except RuntimeError as error:
        error.add_note(path.read_text(errors="replace")[-TOLD_BYTES:])
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _samples(process: "subprocess.Popen[bytes]", goal: Goal) -> Iterator[tuple[Sample, int]]:
    family = Watched(process.pid)
    topics = KafkaTopics({"bootstrap.servers": goal.kafka})
    events = 0
    while events < goal.events:
        if process.poll() is not None or time.perf_counter() - family.began_s > LIMIT_S:
            message = f"{goal.group} stands at {events} of {goal.events}"
            raise RuntimeError(message)
        events = sum(topics.group_offsets(goal.group, goal.topic).values())
        now_s = time.perf_counter() - family.began_s
        yield Sample(events, now_s, family.cpu_s()), family.memory_mb()
        time.sleep(POLL_S)  # the rate of samples, no condition is waited for


def _figures(samples: Sequence[tuple[Sample, int]], goal: Goal) -> dict[str, Any]:
    start = next(sample for sample, _ in samples if sample.events >= goal.warm_up)
    end, memory_mb = samples[-1]
    measured = end.events - start.events
    seconds, cpu_s = end.seconds - start.seconds, end.cpu_s - start.cpu_s
    return {
        "events": measured,
        "events_per_second": round(measured / seconds),
        "cpu_us_per_event": round(cpu_s / measured * 1e6, 2),
        "cpu_us_per_event_whole": round(end.cpu_s / end.events * 1e6, 2),
        "peak_memory_mb": memory_mb,
        "seconds": round(end.seconds, 1),
    }


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _peak_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peaks = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return next(peaks, 0)  # a process that has just ended has no memory
