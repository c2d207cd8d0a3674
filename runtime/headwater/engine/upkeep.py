"""What stores want between two batches: flushes, checkpoints, and a word about their sizes."""

from typing import Final

from headwater.clock import Clock
from headwater.engine.checkpoints import Checkpoints
from headwater.engine.stores import Stores
from headwater.ports import Monitor

SIZES_S: Final = 5.0  # how old the sizes may be: a local store takes some 50 us to tell its own


class Upkeep:
    """Looks after the stores of a process, a little each turn."""

    def __init__(self, stores: Stores, clock: Clock, checkpoints: Checkpoints | None) -> None:
        self._stores = stores
        self._clock = clock
        self._checkpoints = checkpoints
        self._told_s: float | None = None

    def turn(self, monitor: Monitor) -> None:
        """Flush what is due, write a slice of a checkpoint, and tell the sizes every few seconds.

        Raises RetriableError when the disk refuses (call again, nothing is lost), and RebuildError.
        """
        if not self._stores.held:
            return
        self._stores.flush_when_due()
        if self._checkpoints is not None:
            self._checkpoints.advance(monitor)
        now_s = self._clock.monotonic()
        if self._told_s is None or now_s - self._told_s >= SIZES_S:
            self._told_s = now_s
            monitor.stores(self._stores.standings())
