"""Promise 6: too many bad records stop the product rather than hide a bad deployment."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from headwater.errors import TooManyBadRecordsError
from headwater.model import Code

TOTAL: Final = "total"
"""Beside the codes: the limit over all bad records."""

LookBack = Callable[[int], tuple[int, Counter[Code | None]]]
"""Of the last so many records before a start: how many there were, and the bad ones by code.

None stands for a code that this release does not know.
"""


@dataclass(frozen=True, slots=True)
class BadRecordLimit:
    """More than `share` of the last `window` records, and at least `at_least` of them."""

    share: float = 0.05
    window: int = 10_000
    at_least: int = 100

    def is_exceeded(self, *, read: int, bad: int) -> bool:
        """Whether `bad` of `read` records are too many."""
        return bad >= self.at_least and bad > self.share * read

    def used(self, *, read: int, bad: int) -> float:
        """How much of the limit `bad` of `read` records take: 0 none of it, above 1 too much."""
        return min(bad / self.at_least, bad / (self.share * read)) if bad else 0.0


class _Counter:
    """Counts of the last records under one limit, batch by batch.

    Of the oldest batch that the window reaches into, a share of the bad ones counts.
    """

    def __init__(self, limit: BadRecordLimit) -> None:
        self.limit = limit
        self._settled: deque[tuple[int, int]] = deque()
        self._staged: list[tuple[int, int]] = []

    def counts(self) -> tuple[int, int]:
        seen, bad = 0, 0.0
        for read, bad_of_batch in reversed((*self._settled, *self._staged)):
            if read:
                taken = min(read, self.limit.window - seen)
                seen, bad = seen + taken, bad + bad_of_batch * taken / read
        return seen, round(bad)

    def restore(self, read: int, bad: int) -> None:
        self._settled = deque([(read, bad)])

    def add(self, read: int, bad: int) -> None:
        self._staged.append((read, bad))

    def settle(self) -> None:
        self._settled.extend(self._staged)
        self._staged.clear()
        excess = sum(read for read, _ in self._settled) - self.limit.window
        while self._settled and self._settled[0][0] <= excess:
            excess -= self._settled.popleft()[0]

    def discard(self) -> None:
        self._staged.clear()


class BadRecordWindow:
    """Looks back on the last records: all bad ones under `limit`, and single codes under their own.

    What is staged counts at once, and is forgotten again when its transaction does not commit.
    """

    def __init__(
        self, limit: BadRecordLimit, codes: Mapping[Code, BadRecordLimit] | None = None
    ) -> None:
        self._total = _Counter(limit)
        self._codes = {code: _Counter(own) for code, own in (codes or {}).items()}
        self._counters = (self._total, *self._codes.values())

    def counts(self) -> tuple[int, int]:
        """Records in the window, and the bad ones of them."""
        return self._total.counts()

    @property
    def size(self) -> int:
        """The most records any of the limits looks back on."""
        return max(counter.limit.window for counter in self._counters)

    def used(self) -> Mapping[str, float]:
        """How much of each limit is used up: `total`, and the codes that have their own."""
        by_code = {code.value: _used(counter) for code, counter in self._codes.items()}
        return {TOTAL: _used(self._total), **by_code}

    def restore(self, last: LookBack) -> None:
        """Begin with what is known of the time before this process, each limit with its own past.

        A count over a longer past would thin out the bad records of a short one.
        """
        read, codes = last(self._total.limit.window)
        self._total.restore(read, codes.total())
        for code, counter in self._codes.items():
            read, codes = last(counter.limit.window)
            counter.restore(read, codes[code])

    def observe(self, *, read: int, codes: Mapping[Code, int], dead_letters: str) -> None:
        """Count a batch before it is staged. Raises TooManyBadRecordsError when a limit trips."""
        bad = sum(codes.values())
        self._total.add(read, bad)
        for code, counter in self._codes.items():
            counter.add(read, codes.get(code, 0))
        if not bad:
            return
        _refuse(self._total, "bad", dead_letters)
        for code in self._codes.keys() & codes.keys():
            _refuse(self._codes[code], f"bad as {code}", dead_letters)

    def settle(self) -> None:
        """The staged batches are committed."""
        for counter in self._counters:
            counter.settle()

    def discard(self) -> None:
        """The staged batches were rewound and come again."""
        for counter in self._counters:
            counter.discard()


def _used(counter: _Counter) -> float:
    read, bad = counter.counts()
    return counter.limit.used(read=read, bad=bad)


def _refuse(counter: _Counter, what: str, dead_letters: str) -> None:
    seen, bad = counter.counts()
    limit = counter.limit
    if limit.is_exceeded(read=seen, bad=bad):
        raise TooManyBadRecordsError(
            f"{bad} of the last {seen} records were {what}, the limit is "
            f"{limit.share:.0%} and at least {limit.at_least}; look at "
            f"{dead_letters} and at what changed upstream, then start again"
        )
