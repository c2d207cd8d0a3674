"""What goes wrong, said beforehand: which call of a client fails, and how."""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from headwater.errors import HeadwaterError, UnavailableError
from headwater.model import Partition

Operation = Literal[
    "initialise", "begin", "produce", "send_offsets", "commit", "abort",
    "poll", "committed", "commit_start", "check_membership", "ends",
]  # fmt: skip


class LostCommit(Enum):
    """Why nobody answers a commit."""

    REQUEST = "the broker never heard of it"
    ANSWER = "it is committed"
    MARKERS = "it is decided, and completed when the id is initialised next"


@dataclass(frozen=True, slots=True)
class Partial:
    """A produce of which only the first `accepted` records are taken."""

    accepted: int


Fault = HeadwaterError | LostCommit | Partial | Callable[[], None]
"""An error is raised before anything happens; a callable is called and may raise, or not."""


class Faults:
    """A queue per operation; each call of the operation takes one."""

    def __init__(self) -> None:
        self._queues: defaultdict[Operation, deque[Fault | None]] = defaultdict(deque)
        self._away = 0
        self.damaged: set[tuple[Partition, int]] = set()

    def damage(self, partition: Partition, offset: int) -> None:
        """The record at this offset fails its checksum whoever reads it."""
        self.damaged.add((partition, offset))

    def first_damage(self, partition: Partition, position: int) -> int | None:
        """The first offset from `position` on that cannot be read; None when all can."""
        offsets = (at for damaged, at in self.damaged if damaged == partition and at >= position)
        return min(offsets, default=None)

    def script(self, operation: Operation, fault: Fault, *, after: int = 0, times: int = 1) -> None:
        """The next `times` calls fail, once `after` more calls went well."""
        self._queues[operation].extend([None] * after + [fault] * times)

    def away_for(self, calls: int) -> None:
        """The broker does not answer this many calls, of any operation."""
        self._away = calls

    def clear(self) -> None:
        """From now on everything goes well."""
        self._queues.clear()
        self.damaged.clear()
        self._away = 0

    def take(self, operation: Operation) -> LostCommit | Partial | None:
        """What this call is to do; raises what it is to raise."""
        if self._away:
            self._away -= 1
            raise UnavailableError(f"the broker in memory does not answer ({operation})")
        queue = self._queues[operation]
        fault = queue.popleft() if queue else None
        if isinstance(fault, HeadwaterError):
            raise type(fault)(str(fault), code=fault.code)
        if callable(fault):
            fault()
            return None
        return fault
