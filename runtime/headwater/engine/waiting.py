"""Waits while the broker or the registry is away, so that the membership of the group survives."""

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Final, Protocol, TypeVar

from headwater.clock import Clock
from headwater.errors import AbortableError, OutageError, RetriableError
from headwater.ports import Monitor, Records

T = TypeVar("T")

BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)  # between tries while something outside is away


class Waiter(Protocol):
    """Who waits: what may end a wait before its time."""

    @property
    def is_stopping(self) -> bool:
        """Whether a drain was asked for."""
        ...

    @property
    def assignments(self) -> int:
        """Rises with every change of the assignment."""
        ...


class Pausable(Protocol):
    """What is polled while one waits, so that the client stays alive."""

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Records]:
        """Records, when the pause does not hold them back."""
        ...

    def pause(self) -> None:
        """Stop fetching."""
        ...

    def resume(self) -> None:
        """Undo `pause`."""
        ...


class Waiting:
    """Tries again and again, up to `limit_s`, with the inputs paused and polled."""

    def __init__(self, source: Pausable, monitor: Monitor, clock: Clock, *, limit_s: float) -> None:
        self._source = source
        self._monitor = monitor
        self._clock = clock
        self.limit_s = limit_s

    def out(self, action: Callable[[], T], error: RetriableError, waiter: Waiter) -> T:
        """What `action` returns once it works; `error` is why it did not at first.

        Raises OutageError beyond the limit and when a drain is asked for, AbortableError when the
        assignment changed meanwhile: then the records in hand are no longer ours.
        """
        deadline = self._clock.monotonic() + self.limit_s
        assignments = waiter.assignments
        self._monitor.waiting(str(error))
        try:
            for pause_s in chain(BACKOFF_S, repeat(BACKOFF_S[-1])):
                if waiter.is_stopping or self._clock.monotonic() > deadline:
                    break
                self._monitor.alive()
                self._source.pause()  # each time: a search of the sandbox ends with a resume
                try:
                    if self._polled(pause_s) or waiter.assignments != assignments:
                        raise AbortableError("the assignment changed while waiting")
                    return action()
                except RetriableError as again:
                    error = again
        finally:
            self._source.resume()
            self._monitor.waiting(None)
        raise OutageError(f"gave up waiting: {error}") from error

    def _polled(self, pause_s: float) -> bool:
        """Poll paused inputs for `pause_s`; whether records came, from a new assignment then.

        Where to begin on new partitions cannot be told while a transaction of our own is open in
        the broker: the next try is what ends it, so this must not stand in its way.
        """
        try:
            return bool(self._source.poll(1, pause_s))
        except RetriableError:
            return False
