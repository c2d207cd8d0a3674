"""What the probes answer. Pure logic over what the loop last said; time is an argument."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headwater.clock import SYSTEM, Clock
from headwater.model import Halt, RestoreStanding, TableStanding

HEARTBEAT_LIMIT_S: Final = 90.0  # above max.poll.interval.ms (60 s): by then we are evicted anyway


@dataclass(frozen=True, slots=True)
class Verdict:
    """A probe's answer; `reasons` say why not, `notes` what else an operator should know."""

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


class Health:
    """Updated by the loop's thread, asked by the probes' thread.

    livez: the loop comes round; restarting the process would help if not.
    readyz: it has an assignment, broker and registry answer, it is not draining.
    startupz: the start is over, which takes as long as tables are read and state is restored.
    """

    def __init__(
        self, *, clock: Clock = SYSTEM, heartbeat_limit_s: float = HEARTBEAT_LIMIT_S
    ) -> None:
        self._clock = clock
        self._limit_s = heartbeat_limit_s
        self._beat_at_s: float | None = None
        self._is_started = False
        self._is_assigned = False
        self._is_draining = False
        self._waits_for: str | None = None
        self._restores: tuple[RestoreStanding, ...] = ()
        self._halts: tuple[Halt, ...] = ()
        self._unread: tuple[TableStanding, ...] = ()

    def beat(self) -> None:
        """The loop came round once more."""
        self._beat_at_s = self._clock.monotonic()

    def started(self) -> None:
        """The start is over: the loop runs."""
        self._is_started = True
        self.beat()

    def assigned(self) -> None:
        """The group gave an assignment, be it empty: a spare replica is ready too."""
        self._is_assigned = True

    def unassigned(self) -> None:
        """The assignment is gone until the group gives the next one."""
        self._is_assigned = False
        self._restores = ()

    def waiting(self, reason: str | None) -> None:
        """The loop waits for broker or registry; None when it goes on."""
        self._waits_for = reason

    def restoring(self, standings: Sequence[RestoreStanding]) -> None:
        """All stores of the assignment; what is not restored yet holds the start up."""
        self._restores = tuple(each for each in standings if not each.is_done)

    def halted(self, halts: Sequence[Halt]) -> None:
        """These partitions stand still; empty when every one goes on."""
        self._halts = tuple(halts)

    def tables(self, standings: Sequence[TableStanding]) -> None:
        """All tables as they are now; one that is not read whole holds the start up."""
        self._unread = tuple(each for each in standings if each.left)
        self.beat()

    def draining(self) -> None:
        """The process was asked to stop and finishes what it has begun."""
        self._is_draining = True

    def livez(self) -> Verdict:
        """Whether the loop comes round. A process that starts or drains is alive."""
        if self._beat_at_s is None:
            return Verdict()
        age_s = self._clock.monotonic() - self._beat_at_s
        if age_s <= self._limit_s:
            return Verdict()
        return Verdict((f"the loop has not come round for {age_s:.0f} s",))

    def readyz(self) -> Verdict:
        """Whether it processes records, or would if there were any.

        A halted partition is a note: the others go on, a restart would halt at the same record, and
        a 503 would keep the release that can read it from being rolled out.
        """
        reasons = list(self.startupz().reasons)
        if self._is_draining:
            reasons.append("draining")
        if self._waits_for is not None:
            reasons.append(f"waiting: {self._waits_for}")
        if not self._is_assigned:
            reasons.append("no assignment from the group")
        notes = tuple(f"halted: {h.partition}@{h.offset} {h.code}" for h in self._halts)
        return Verdict((*reasons, *self.livez().reasons), notes)

    def startupz(self) -> Verdict:
        """Whether the start is over."""
        if not self._is_started:
            return Verdict(("starting",))
        reading = (f"reading table {each.topic}: {each.left} offsets left" for each in self._unread)
        return Verdict((*reading, *self._restoring()))

    def _restoring(self) -> list[str]:
        return [
            f"restoring the state of {each.output}, step {each.step}: {each.left} records left"
            for each in self._restores
        ]
