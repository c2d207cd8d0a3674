"""Whether a reader can still see every deletion that follows its place.

A compacted log drops a tombstone some time after it was published, and with it every sign that the
key is gone: who reads on too late would keep its row for ever (KIP-534).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headwater.clock import Clock
from headwater.errors import ReadRefusedError
from headwater.model import Positions
from headwater.ports import Topics
from headwater.snapshot.cut import age_ms, deletions_held_ms

GOING_ON_SHARE: Final = 0.75  # of the time they are kept: clocks differ, and a cut's is that of its
# commit, which comes some time behind the end that it was taken up to

Offsets = Mapping[int, int]
"""The next offset, by partition of one topic."""


@dataclass(frozen=True, slots=True)
class End:
    """A place of a topic where reading ends.

    At `asked_ms` nothing was published behind it; None where it is not known of when it was so.
    """

    offsets: Offsets
    asked_ms: int | None = None


def read_committed_end(topics: Topics, topic: str, clock: Clock) -> End:
    """The end of now."""
    asked_ms = clock.wall_ms()  # before: what is published meanwhile is younger
    return End(by_index(topics.ends(topic)), asked_ms)


def by_index(positions: Positions) -> dict[int, int]:
    """Positions of one topic by the index of their partition."""
    return {partition.index: offset for partition, offset in positions.items()}


@dataclass(slots=True)
class Deletions:
    """What a reader of one topic may rely on; `share` is that of the time the log keeps deletions.

    `as_of_ms` is a time at which nothing was published behind the place it has reached; None where
    no deletion needs to be seen: then nothing is asked, and nothing refused.
    """

    topics: Topics
    topic: str
    clock: Clock
    as_of_ms: int | None
    share: float = GOING_ON_SHARE
    ahead: End | None = None
    _held_ms: float = field(default=math.inf, init=False)

    def look(self, reached: Offsets) -> None:
        """Ask for the end of now, so that reaching it tells a later time, and the topic's settings.

        To be called before reading on from a place, now and then.
        """
        if self.as_of_ms is None:
            return
        self._held_ms = deletions_held_ms(self.topics, self.topic, self.share)
        if self.ahead is None:
            self.ahead = read_committed_end(self.topics, self.topic, self.clock)
        self._pass(reached)

    def require(self, reached: Offsets) -> None:
        """All deletions before this place were there to be seen when it was reached, just now.

        Raises ReadRefusedError (CUT_LOST) when that cannot be known.
        """
        if self.as_of_ms is None:
            return
        old_ms = age_ms(self.as_of_ms, self.clock.wall_ms())
        if old_ms >= self._held_ms:
            raise ReadRefusedError(
                f"The log of {self.topic} may have dropped deletions that follow: what was read is"
                f" as of {old_ms // 1_000} s ago, and after {self._held_ms / 1_000:.0f} s they"
                f" cannot be relied on; rows that are gone would stay. Begin again from a newer"
                f" snapshot, and ask the product's owner for a delete.retention.ms much longer than"
                f" the time between snapshots.",
                code="CUT_LOST",
            )
        self._pass(reached)

    def _pass(self, reached: Offsets) -> None:
        if self.ahead is not None and all(
            reached.get(index, 0) >= end for index, end in self.ahead.offsets.items()
        ):
            self.as_of_ms, self.ahead = self.ahead.asked_ms, None
