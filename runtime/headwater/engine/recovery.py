"""From a failed turn back to where the next one can begin: abort, recycle or stop."""

from headwater.clock import Clock
from headwater.engine.transaction import Transaction
from headwater.engine.waiting import Waiter, Waiting
from headwater.errors import (
    AbortableError,
    HeadwaterError,
    OutageError,
    RecycleError,
    RetriableError,
)
from headwater.ports import Monitor


class Recovery:
    """Undoes the open transaction as the error asks; waits while the broker is away."""

    def __init__(
        self, transaction: Transaction, waiting: Waiting, monitor: Monitor, clock: Clock
    ) -> None:
        self._transaction = transaction
        self._waiting = waiting
        self._monitor = monitor
        self._clock = clock
        self._away_since_s: float | None = None  # since when each turn fails for an outage

    def succeeded(self) -> None:
        """A turn went through."""
        self._away_since_s = None

    def run(self, error: HeadwaterError, waiter: Waiter) -> None:
        """Bring the transaction to an end after `error`.

        Raises OutageError beyond the limit, and FencedError when another process took over.
        """
        self._limit_outage(error)
        is_away = False
        while True:
            self._transaction.failed(error)
            is_away |= isinstance(error, RetriableError)
            if is_away:
                self._monitor.waiting(str(error))  # before the first try, which takes seconds
            try:
                self._recover_from(error, waiter)
                break
            except (AbortableError, RecycleError) as another:
                error = another
        self._monitor.waiting(None)

    def _recover_from(self, error: HeadwaterError, waiter: Waiter) -> None:
        try:
            self._transaction.recover(error)
        except RetriableError as away:
            self._waiting.out(lambda: self._transaction.recover(error), away, waiter)

    def _limit_outage(self, error: HeadwaterError) -> None:
        """What recovers each time and fails again in the next turn is bounded like one wait."""
        if not isinstance(error, RetriableError):
            return
        now = self._clock.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now
        if now - self._away_since_s > self._waiting.limit_s:
            raise OutageError(f"gave up waiting: {error}") from error
