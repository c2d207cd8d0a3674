"""Batches that may end this process go through another one first, which they may end."""

from collections.abc import Callable, Sequence
from typing import Protocol

from headwater.engine.waiting import Waiter
from headwater.errors import AbortableError
from headwater.model import Quarantine
from headwater.ports import Monitor, Records, RecordSource


class Sandbox(Protocol):
    """Finds the records that end a process, by letting them end another one."""

    def guilty(self, records: Records, keep_alive: Callable[[], None]) -> Sequence[Quarantine]:
        """The rows that kill a process or never come back from it, each with its reason.

        `keep_alive` is called a few times per second; what it raises ends the search.
        Raises RetriableError when a schema cannot be had now, TooManyBadRecordsError when too many
        rows are guilty, FatalError when there can be no sandbox.
        """
        ...

    def close(self) -> None:
        """End what still runs; the next search begins anew."""
        ...


class Guard:
    """Searches batches in a sandbox, while the group membership survives."""

    def __init__(self, sandbox: Sandbox, source: RecordSource, monitor: Monitor) -> None:
        self._sandbox = sandbox
        self._source = source
        self._monitor = monitor

    def guilty(self, records: Records, waiter: Waiter) -> Sequence[Quarantine]:
        """The rows to keep away from this process; takes as long as it takes, inputs paused.

        Raises what `Sandbox.guilty` raises, and AbortableError when the assignment changed
        meanwhile or a drain was asked for: then the records are not to be worked on.
        """
        assignments = waiter.assignments

        def keep_alive() -> None:
            self._monitor.alive()
            polled = self._source.poll(1, 0.0)  # paused: records are of a new assignment
            if polled or waiter.assignments != assignments:
                raise AbortableError("the assignment changed while a batch was searched")
            if waiter.is_stopping:
                raise AbortableError("asked to stop while a batch was searched")

        self._source.pause()
        try:
            return self._sandbox.guilty(records, keep_alive)
        finally:
            self._source.resume()

    def close(self) -> None:
        """End the sandbox; it costs memory, and comes back when it is needed."""
        self._sandbox.close()
