"""Deletes what was read of repartition topics: nobody else reads it, and they would only grow.

Kafka Streams does the same, as often (`repartition.purge.interval.ms`, KIP-811).
"""

from collections.abc import Collection
from typing import Final

from headwater.clock import Clock
from headwater.model import Positions
from headwater.ports import Topics

PURGE_S: Final = 30.0  # between two requests: each makes the broker write a checkpoint of its log


class Purging:
    """Asks the broker to delete the records of `repartitions` that are committed as read."""

    def __init__(self, topics: Topics, repartitions: Collection[str], clock: Clock) -> None:
        self._topics = topics
        self._repartitions = repartitions
        self._clock = clock
        self._asked: Positions = {}
        self._asked_s = clock.monotonic()

    def turn(self, committed: Positions) -> None:
        """Every `PURGE_S`, delete below these positions where they moved."""
        now_s = self._clock.monotonic()
        if not self._repartitions or now_s - self._asked_s < PURGE_S:
            return
        self._asked_s = now_s
        read = {p: end for p, end in committed.items() if p.topic in self._repartitions}
        if moved := {p: end for p, end in read.items() if end > self._asked.get(p, 0)}:
            self._topics.delete_before(moved)
        self._asked = read
