"""Promise 6: too many bad records stop the product rather than hide a bad deployment."""

from collections import deque
from dataclasses import dataclass

from headwater.errors import TooManyBadRecordsError


@dataclass(frozen=True, slots=True)
class BadRecordLimit:
    """More than `share` of the last `window` records, and at least `at_least` of them."""

    share: float = 0.05
    window: int = 10_000
    at_least: int = 100

    def is_exceeded(self, *, read: int, bad: int) -> bool:
        """Whether `bad` of `read` records are too many."""
        return bad >= self.at_least and bad > self.share * read


class BadRecordWindow:
    """Counts of the last records, batch by batch, as far back as the window reaches.

    Of the oldest batch that it reaches into, a share of the bad ones counts. What is staged counts
    at once, and is forgotten again when its transaction does not commit.
    """

    def __init__(self, limit: BadRecordLimit) -> None:
        self._limit = limit
        self._settled: deque[tuple[int, int]] = deque()
        self._staged: list[tuple[int, int]] = []

    def counts(self) -> tuple[int, int]:
        """Records in the window, and the bad ones of them."""
        seen, bad = 0, 0.0
        for read, bad_of_batch in reversed((*self._settled, *self._staged)):
            if read:
                taken = min(read, self._limit.window - seen)
                seen, bad = seen + taken, bad + bad_of_batch * taken / read
        return seen, round(bad)

    @property
    def size(self) -> int:
        """The most records the window looks back on."""
        return self._limit.window

    def restore(self, *, read: int, bad: int) -> None:
        """Begin with what the tail of the dead letters says of the time before this process."""
        self._settled = deque([(read, bad)])

    def observe(self, *, read: int, bad: int, dead_letters: str) -> None:
        """Count a batch before it is staged. Raises TooManyBadRecordsError when the limit trips."""
        self._staged.append((read, bad))
        seen, bad_of_seen = self.counts()
        if bad and self._limit.is_exceeded(read=seen, bad=bad_of_seen):
            raise TooManyBadRecordsError(
                f"{bad_of_seen} of the last {seen} records were bad, the limit is "
                f"{self._limit.share:.0%} and at least {self._limit.at_least}; look at "
                f"{dead_letters} and at what changed upstream, then start again"
            )

    def settle(self) -> None:
        """The staged batches are committed."""
        self._settled.extend(self._staged)
        self._staged.clear()
        excess = sum(read for read, _ in self._settled) - self._limit.window
        while self._settled and self._settled[0][0] <= excess:
            excess -= self._settled.popleft()[0]

    def discard(self) -> None:
        """The staged batches were rewound and come again."""
        self._staged.clear()
