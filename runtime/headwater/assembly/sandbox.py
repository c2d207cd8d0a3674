"""Finds the records that end a process: a child process works on ever smaller pieces of a batch.

The child is spawned, never forked: librdkafka does not survive a fork. One child serves all pieces
until it dies; whatever piece it was given then is taken apart. It holds no more than that piece.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, Final

from headwater.assembly.registration import SchemaIds
from headwater.assembly.sandbox_memory import LEAST_BYTES, SLICE_SHARE
from headwater.assembly.sandbox_wire import (
    OUT_OF_MEMORY,
    TOO_LITTLE_MEMORY,
    packed,
    receive,
    reference_of,
    schema_text,
    send,
    table,
)
from headwater.errors import FatalError, TooManyBadRecordsError, UnknownSchemaError
from headwater.flow import Tables
from headwater.model import Code, Quarantine
from headwater.observe.logs import get_logger
from headwater.ports import Records, Registry

PIECES: Final = 100  # of a batch, and of each piece: 10,000 records take two deaths to the one,
# and a child takes longer to start than to work on a hundred pieces
FEWEST: Final = 16  # pieces of a small batch: what a step can do in time, each does in PIECE_SHARE
PIECE_SHARE: Final = 0.1  # of the step's bound, for several records: overrun, they are only split
MAX_GUILTY: Final = 20  # records per batch: more is a bad release, which nobody should hide
MEMORY_BYTES: Final = 2**30  # a child may grow by, at most: what a batch takes, many times over
READY_S: Final = 30.0  # to import and to load the product, or to take records; takes one or two
LOOK_S: Final = 0.25  # how often the caller is told that all is well
GRACE_S: Final = 1.0  # until the child's own alarm must have ended it
STDERR: Final = 2

log = get_logger("sandbox")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a child needs to do what this process does; `tables` are sent to it whole.

    Which of their rows a batch needs, only the steps before the join could tell.
    """

    file: Path
    ids: Mapping[str, SchemaIds]
    registry: Registry
    step_timeout_s: float
    tables: Tables = field(default_factory=dict)

    def changes(self) -> int:
        """Rises with every change of a table."""
        return sum(table.rows.changes for table in self.tables.values())


@dataclass(frozen=True, slots=True)
class _Death:
    """How a child ended, and in which step."""

    code: Code
    message: str
    step: str


class ChildSandbox:
    """The port `Sandbox` with a child process, started when it is needed."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._child: _Child | None = None

    def guilty(self, records: Records, keep_alive: Callable[[], None]) -> Sequence[Quarantine]:
        """The rows that end a child, each alone in its piece then.

        Raises what `keep_alive` raises, RetriableError when a schema cannot be had now,
        TooManyBadRecordsError above `MAX_GUILTY` rows, FatalError when no child starts.
        """
        began = time.monotonic()
        rows, found = table(records), list[Quarantine]()
        pieces = _first(len(records))
        self._end_outdated()
        try:
            while pieces:
                piece = pieces.pop()
                self._child = child = self._child or _Child(self._setting, keep_alive)
                content = packed(rows[piece.start : piece.stop])
                if len(piece) > 1 and len(content) > child.slice_bytes:
                    pieces += _split(piece)
                    continue
                is_fresh = child.is_fresh
                death = child.work(records.topic, len(piece), content, keep_alive)
                if death is None:
                    continue
                self.close()
                if len(piece) > 1:
                    pieces += _split(piece)
                elif death.code == Code.PROCESS_DIED and not is_fresh:
                    pieces.append(piece)  # what came before it may have left no memory: once more
                else:
                    _refuse_untaken(death, len(content), records.topic)
                    found.append(Quarantine(piece.start, death.code, death.message, death.step))
                    _refuse_too_many(found, records.topic)
        except BaseException:
            self.close()  # it may be in the middle of a piece
            raise
        _tell(records, found, time.monotonic() - began)
        return found

    def _end_outdated(self) -> None:
        """A row of a table that is newer than the child may be what ends a process."""
        if self._child is not None and self._child.changes != self._setting.changes():
            self.close()

    def close(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.end()


def _first(records: int) -> list[range]:
    """The pieces of a batch: of as many records as the next split takes apart into single ones."""
    return _split(range(records), min(PIECES, -(-records // FEWEST)))


def _split(piece: range, least: int = 1) -> list[range]:
    """Its parts, the last first: a stack of them gives the first first."""
    size = max(1, least, -(-len(piece) // PIECES))
    parts = [piece[first : first + size] for first in range(0, len(piece), size)]
    return parts[::-1]


def _tell(records: Records, found: Sequence[Quarantine], seconds: float) -> None:
    log.info("sandbox.searched", records=len(records), guilty=len(found), seconds=round(seconds, 1))


def _refuse_untaken(death: _Death, size: int, topic: str) -> None:
    if death.step:
        return
    raise FatalError(
        f"the child process that finds deadly records cannot take one record of {topic} "
        f"({size} bytes): {death.message}; raise the container's memory limit, then start again"
    )


def _refuse_too_many(found: Sequence[Quarantine], topic: str) -> None:
    if len(found) <= MAX_GUILTY:
        return
    raise TooManyBadRecordsError(
        f"more than {MAX_GUILTY} records of one batch of {topic} end the process, the last one: "
        f"{found[-1].message}; look at what changed in the product or upstream, then start again"
    )


class _Child:
    def __init__(self, setting: Setting, keep_alive: Callable[[], None]) -> None:
        self._setting = setting
        self._step = ""
        self._memory_bytes = MEMORY_BYTES
        self.changes = setting.changes()
        self.is_fresh = True  # has worked on nothing yet
        self._connection, other = Pipe()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headwater.assembly.sandbox_child", str(other.fileno())],
                env={**os.environ, **_FRUGAL},
                stdin=subprocess.DEVNULL,
                stdout=STDERR,  # standard output belongs to the command
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C is ours to hear, not a death
            )
        try:
            send(
                self._connection,
                file=str(setting.file),
                ids=setting.ids,
                memory_bytes=MEMORY_BYTES,
                tables=list(setting.tables),
            )
            self._send_tables()
            self._await_ready(keep_alive)
        except BaseException:
            self.end()
            raise

    def _send_tables(self) -> None:
        """The child takes them before it runs a line of the product's, so this does not hang."""
        with suppress(BrokenPipeError, ConnectionResetError):  # the answer tells that it is dead
            for held in self._setting.tables.values():
                self._connection.send_bytes(packed(held.rows.frame()))

    def _await_ready(self, keep_alive: Callable[[], None]) -> None:
        if self._answer(READY_S, keep_alive) is None:
            how = self._death().message
            raise FatalError(f"the child process that finds deadly records did not start: {how}")

    @property
    def slice_bytes(self) -> int:
        """The size of several records that it may be given at a time."""
        return self._memory_bytes // SLICE_SHARE

    def work(
        self, topic: str, count: int, content: bytes, keep_alive: Callable[[], None]
    ) -> _Death | None:
        """Let it work on `count` records, packed; None when it survived.

        A record alone has the time that a step has over a batch: only then it is judged. A death
        without a step came before the records were taken: they are not to blame.
        """
        bound_s = self._setting.step_timeout_s * (1.0 if count == 1 else PIECE_SHARE)
        self._step, self.is_fresh = "", False
        with suppress(BrokenPipeError, ConnectionResetError):  # the answer tells that it is dead
            send(self._connection, topic=topic, seconds=bound_s)
            self._connection.send_bytes(content)
        if self._answer(READY_S, keep_alive) == "done":
            return None
        return self._death()

    def end(self) -> None:
        """Kill it; nothing of it is needed any more."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _answer(self, bound_s: float, keep_alive: Callable[[], None]) -> str | None:
        """What it says in the end, its questions answered; None when it died or took too long.

        `bound_s` is for the first thing it says; each step that it begins has its own.
        """
        deadline = time.monotonic() + bound_s
        while time.monotonic() < deadline:
            keep_alive()
            try:
                if not self._connection.poll(LOOK_S):
                    continue
                message = receive(self._connection)
            except (EOFError, ConnectionResetError):
                return None
            match message["said"]:
                case "step":
                    self._step = message["step"]
                    # the child's own alarm comes first
                    deadline = time.monotonic() + message["seconds"] + GRACE_S
                case "confined":
                    self._memory_bytes = message["bytes"]
                case "ask":
                    asked = time.monotonic()
                    send(self._connection, answer=self._looked_up(message["name"], message["of"]))
                    deadline += time.monotonic() - asked
                case said:
                    return str(said)
        return None

    def _looked_up(self, name: str, of: Sequence[Any]) -> object:
        registry = self._setting.registry
        if name == "subjects":
            return sorted(registry.subjects(*of))
        if name == "lookup":
            found = registry.lookup(*of)
            return None if found is None else schema_text(found)
        try:
            return registry.schema(reference_of(*of))
        except UnknownSchemaError:
            return None

    def _death(self) -> _Death:
        """How it ended; one that still lives took too long."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        place = f" in step {self._step}" if self._step else ""
        status = self._process.poll()
        if status is None or status == -signal.SIGALRM:
            bound_s = self._setting.step_timeout_s
            text = f"it did not come back within {bound_s:g} s{place}"
            return _Death(Code.STEP_TIMEOUT, text, self._step)
        if status == OUT_OF_MEMORY:
            text = f"it took more than {self._memory_bytes >> 20} MiB of memory{place}"
        elif status == TOO_LITTLE_MEMORY and not self._step:
            text = (
                f"less than {LEAST_BYTES >> 20} MiB of the container's memory are left for it; "
                "raise the limit"
            )
        elif status < 0:
            text = f"the process was killed by {signal.Signals(-status).name}{place}"
        else:
            text = f"the process ended with exit code {status}{place}"
        return _Death(Code.PROCESS_DIED, text, self._step)


_FRUGAL: Final = {  # threads reserve memory, and what ends a process is found by one
    "POLARS_MAX_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # the allocator of polars: one it cannot start is complained of with every allocation
    "_RJEM_MALLOC_CONF": "background_thread:false",
    # what these would reserve and never touch, a gigabyte at a time, counts as taken in a child
    "MALLOC_ARENA_MAX": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
