"""Takes snapshots again and again, with metrics and probes, until a stop signal."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from headwater.assembly.supervisor import is_orphaned
from headwater.clock import SYSTEM, Clock
from headwater.config import Settings
from headwater.contract import Contract
from headwater.errors import (
    AbortableError,
    DifferenceError,
    HeadwaterError,
    RetriableError,
    StartRefusedError,
    UnverifiableError,
)
from headwater.model import SnapshotStanding
from headwater.observe.health import Health
from headwater.observe.logs import bind_process, get_logger
from headwater.observe.metrics import Metrics
from headwater.ports import DaysClosed
from headwater.serve import start as serve
from headwater.snapshot.days import ClosedDays
from headwater.snapshot.upkeep import Upkept
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.writer import Progress, Taken

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
BEAT_S: Final = 1.0  # how soon a child learns of its parent's end; far below HEARTBEAT_LIMIT_S

AGAIN_S: Final = 60.0  # after trouble; an outage is told once a minute, not each second
NOT_YET: Final = "TOPIC_MISSING"  # of a product whose first run begins at this moment

OnTaken = Callable[[str, Taken], None]
OnUpkept = Callable[[str, Upkept], None]
OnTrouble = Callable[[HeadwaterError], None]

log = get_logger("snapshot")


class ProductSnapshots(Protocol):
    """The snapshots of a product, as `Snapshots` takes and verifies them."""

    @property
    def product(self) -> str:
        """The product's name."""
        ...

    @property
    def contracts(self) -> Mapping[str, Contract]:
        """The contract of every output, by topic."""
        ...

    def take(self, topic: str, progress: Progress) -> Taken:
        """Take what a topic published since its last snapshot."""
        ...

    def announce(self, topic: str) -> int:
        """Announce the commits that no notice tells of."""
        ...

    def keep_up(self, topic: str, beat: Callable[[], object]) -> Upkept | None:
        """Keep the table small, if that is due."""
        ...

    def storage(self, topic: str) -> tuple[int, int]:
        """Files and bytes of the newest snapshot."""
        ...

    def days(self, topic: str) -> ClosedDays:
        """The days of the newest snapshot."""
        ...

    def open_letters(self, progress: Progress) -> int:
        """How many dead letters of the product are open."""
        ...

    def verify(self, topic: str, progress: Progress, *, full: bool) -> Verdict:
        """Compare a topic's snapshot with its log."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """Who hears of what was taken and upkept, and of trouble that the next turn may be without."""

    on_taken: OnTaken
    on_upkept: OnUpkept
    on_trouble: OnTrouble


class Schedule:
    """Takes the snapshots of one product every `interval_s` seconds, beginning now.

    With `verify_every_s`, it compares them with their logs so often, the first time after the first
    turn; no snapshot is taken meanwhile.
    """

    def __init__(
        self,
        snapshots: ProductSnapshots,
        interval_s: float,
        told: Told,
        *,
        verify_every_s: float | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._snapshots = snapshots
        self._interval_s = interval_s
        self._told = told
        self._verify_every_s = verify_every_s
        self._clock = clock
        self.metrics: Final = Metrics(snapshots.product, clock=clock)
        self._health = Health(clock=clock)
        self._stopped = threading.Event()
        self._standings: dict[str, SnapshotStanding] = {}
        self._verify_due_s = clock.monotonic()
        self._trouble: str | None = None
        self._days_told: set[str] = set()

    def run(self, settings: Settings) -> None:
        """Serve metrics and probes, take snapshots until a stop signal or the parent's end.

        What is read and not committed by then is dropped: the next start reads it again.
        Trouble that passes (storage, broker or registry away, another process was first, a product
        that has not run yet, a feature that another writer gave the table) is told and tried again
        a minute later, or at the next turn: the table knows where to go on. A notice that cannot be
        written, upkeep that fails, and a snapshot that is not its log, are told too. Raises what
        does not pass.
        """
        bind_process(product=self._snapshots.product, instance=settings.instance)
        address = settings.metrics
        with (
            serve(self._health, self.metrics.registry, address.host, address.port) as server,
            self._stopping_on_signals(),
        ):
            log.info("snapshot.serving", host=address.host, port=server.port)
            self._health.started()
            self._health.assigned()
            while not self._is_stopped():
                began_s = self._clock.monotonic()
                self.turn()
                self._wait(began_s + self.pause_s)

    @property
    def pause_s(self) -> float:
        """From the begin of the last turn to the next one, in seconds."""
        return self._interval_s if self._trouble is None else min(self._interval_s, AGAIN_S)

    def turn(self) -> None:
        """Take and announce the snapshot of every output, then do the upkeep, and verify.

        The last two when they are due.
        """
        self._trouble = None
        try:
            self._passing(self._count_letters)
            topics = self._snapshots.contracts
            for topic in [each for each in topics if self._passing(partial(self._take, each))]:
                self._keep_up(topic)
            if self._is_verify_due():
                self._passing(self._verify)
        except _StopAskedError:
            log.info("snapshot.stopped_in_mid_turn")
            return
        self._health.waiting(self._trouble)
        self.metrics.waiting(is_waiting=self._trouble is not None)

    def _passing(self, step: Callable[[], None]) -> bool:
        """Do a step; trouble that passes is told, and the turn goes on with the next step."""
        try:
            step()
        except (AbortableError, RetriableError, UnverifiableError) as error:
            self._troubled(error)
            return False
        except StartRefusedError as error:
            if error.code != NOT_YET:
                raise
            self._troubled(error)
            return False
        return True

    def _troubled(self, error: HeadwaterError) -> None:
        self._trouble = error.code
        self._told.on_trouble(error)

    def _count_letters(self) -> None:
        self.metrics.snapshot_letters(self._snapshots.open_letters(self._beat))

    def _take(self, topic: str) -> None:
        cut_at_ms, began_s = self._clock.wall_ms(), self._clock.monotonic()
        taken = self._snapshots.take(topic, self._beat)
        before = self._standings.get(topic)
        seconds = None if before is None else before.seconds
        if taken.version is not None:
            seconds = self._clock.monotonic() - began_s
        files, size = self._snapshots.storage(topic)
        self._stands(SnapshotStanding(topic, taken.rows_total, files, size, cut_at_ms, seconds))
        self._tell_days(topic, taken.days)
        self._told.on_taken(topic, taken)
        try:
            self._snapshots.announce(topic)
        except HeadwaterError as error:  # the commit stands; the next turn announces it
            self._told.on_trouble(error)

    def _stands(self, standing: SnapshotStanding) -> None:
        self._standings[standing.topic] = standing
        self.metrics.snapshot(standing)

    def _keep_up(self, topic: str) -> None:
        """What fails here, for good or not, holds no cut up: it is told, and due at each turn."""
        try:
            done = self._snapshots.keep_up(topic, partial(self._beat, 0, 0))
        except HeadwaterError as error:
            self.metrics.snapshot_upkeep_failed(topic, error.code)
            log.warning("snapshot.upkeep_failed", topic=topic, code=error.code)
            self._told.on_trouble(error)
            return
        if done is not None:
            self._passing(partial(self._upkept, topic, done))

    def _upkept(self, topic: str, done: Upkept) -> None:
        removed = 0 if done.swept is None else done.swept.bytes
        self.metrics.snapshot_upkept(topic, done.merged, removed)
        self._told.on_upkept(topic, done)
        files, size = self._snapshots.storage(topic)
        self._stands(replace(self._standings[topic], files=files, bytes=size))

    def _tell_days(self, topic: str, news: DaysClosed | None) -> None:
        """Of mode "daily": at first, and when there are more; the history is read for it."""
        if news is not None and (news.before is not None or topic not in self._days_told):
            self.metrics.snapshot_days(topic, self._snapshots.days(topic).reached)
            self._days_told.add(topic)

    def _is_verify_due(self) -> bool:
        return self._verify_every_s is not None and self._clock.monotonic() >= self._verify_due_s

    def _verify(self) -> None:
        for topic in self._snapshots.contracts:
            outcome = self._snapshots.verify(topic, self._beat, full=False).outcome
            # only older cuts than the newest, which is asked for, are not kept
            self.metrics.snapshot_checked(
                topic, "unverifiable" if outcome == "not kept" else outcome
            )
            log.info("snapshot.verified", topic=topic, outcome=outcome)
            if outcome == "different":
                self._told.on_trouble(
                    DifferenceError(
                        f"The snapshot of {topic} is not its log; `headwater verify"
                        f" {self._snapshots.product}` names the places."
                    )
                )
        self._verify_due_s = self._clock.monotonic() + (self._verify_every_s or 0.0)

    def _beat(self, _done: int, _total: int) -> None:
        """Between two reads; a commit that is under way is made whole."""
        self._health.beat()
        if self._is_stopped():
            raise _StopAskedError

    def _is_stopped(self) -> bool:
        if not self._stopped.is_set() and is_orphaned():
            log.info("snapshot.draining", reason="the supervisor is gone")
            self._health.draining()
            self._stopped.set()
        return self._stopped.is_set()

    def _wait(self, due_s: float) -> None:
        while not self._is_stopped() and (left := due_s - self._clock.monotonic()) > 0:
            self._health.beat()
            self._stopped.wait(min(left, BEAT_S))

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        def stop(_number: int, _frame: object) -> None:
            self._health.draining()
            self._stopped.set()

        previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class _StopAskedError(Exception):
    """Leaves what is read and not committed. No error of a user's."""
