"""What stores want beside batches: to be restored first, then flushes, checkpoints and figures.

And what topics of our own want: what was read of them is deleted.

A disk that is full or away is waited out here, with the inputs paused and polled: nothing of the
broker's is to be mended, and what is committed is in the changelogs.
"""

from typing import Final

from headwater.engine.outside import Outside
from headwater.engine.transaction import Transaction
from headwater.engine.waiting import Waiter, Waiting
from headwater.errors import AbortableError, RetriableError, UnavailableError

SIZES_S: Final = 5.0  # how old the sizes may be: a local store takes some 50 us to tell its own


class Upkeep:
    """Looks after the stores of a process, a little each turn of the loop."""

    def __init__(self, outside: Outside, transaction: Transaction, waiting: Waiting) -> None:
        self._source = outside.source
        self._monitor = outside.monitor
        self._clock = outside.clock
        self._restoring = outside.restoring
        self._stores = outside.restoring.stores
        self._checkpoints = outside.restoring.checkpoints
        self._purging = outside.purging
        self._transaction = transaction
        self._waiting = waiting
        self._told_s: float | None = None
        self._is_paused = False  # for a restore

    def restore(self, waiter: Waiter) -> bool:
        """Whether this turn went into state: a slice of it, with the inputs paused and polled.

        Raises what `Restoring.advance` does, and AbortableError for a new assignment.
        """
        if not self._restoring.is_needed:
            self._resume()  # an assignment may have come in between that has no state
            return False
        self._is_paused = True
        self._source.pause()
        if self._source.poll(1, self._restoring.wait_s):
            raise AbortableError("the assignment changed while its state was restored")
        try:
            is_done = self._restoring.advance(self._monitor)
        except UnavailableError:
            raise
        except RetriableError as error:
            is_done = self._waiting.out(
                lambda: self._restoring.advance(self._monitor), error, waiter
            )
        if is_done:
            self._resume()
        return True

    def _resume(self) -> None:
        if self._is_paused:
            self._source.resume()
            self._is_paused = False

    def turn(self, waiter: Waiter) -> None:
        """Flush and purge what is due, write a slice of a checkpoint, tell the sizes now and then.

        Raises RebuildError, and what a commit raises.
        """
        self._purging.turn(self._transaction.committed())
        if not self._stores.held:
            return
        try:
            self._turn()
        except RetriableError as error:
            self._transaction.commit()  # an open transaction would time out meanwhile
            self._waiting.out(self._turn, error, waiter)

    def _turn(self) -> None:
        self._stores.flush_when_due()
        if self._checkpoints is not None:
            self._checkpoints.advance(self._monitor)
        now_s = self._clock.monotonic()
        if self._told_s is None or now_s - self._told_s >= SIZES_S:
            self._told_s = now_s
            self._monitor.stores(self._stores.standings())
