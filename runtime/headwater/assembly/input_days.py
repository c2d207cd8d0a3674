"""Which days are over by what a product's inputs brought: asked of the notes of its group."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from headwater.assembly.project import LoadedProduct
from headwater.clock import SYSTEM, Clock
from headwater.engine import Watermarks
from headwater.ports import DaysClosed, Topics
from headwater.snapshot.days import Mark, closing

SETTLE_S: Final = 10.0  # for transactions under way; a product commits every second or so
LOOK_S: Final = 0.05  # between two looks at the end of the log


class InputDays:
    """Tells which days are over for one output of a product.

    The inputs and repartition topics of the product are waited for, each of their partitions but
    those that never held a record: nothing can come late of them.
    """

    def __init__(self, loaded: LoadedProduct, topics: Topics, clock: Clock = SYSTEM) -> None:
        self._loaded = loaded
        self._topics = topics
        self._clock = clock

    def closing(self, topic: str, wait: Callable[[float], None] = time.sleep) -> DaysClosed | None:
        """The days that are over, and whose rows stand before the read_committed end of `topic`.

        None where no day is, and while a transaction that was open keeps the end of the log back
        for longer than SETTLE_S. Raises UnavailableError when the broker does not answer.
        """
        policy = self._loaded.product.snapshot
        lateness_ms = 0 if policy is None else policy.lateness_ms
        found = closing(self._marks(), lateness_ms)
        # What was committed with those marks is below here, though perhaps not visible yet.
        made = self._topics.high_watermarks(topic)
        until_s = self._clock.monotonic() + SETTLE_S
        while any(end < made[p] for p, end in self._topics.ends(topic).items() if p in made):
            if self._clock.monotonic() > until_s:
                return None
            wait(LOOK_S)
        return found

    def _marks(self) -> Iterator[Mark]:
        product = self._loaded.product
        read = dict.fromkeys(each.topic for each in product.inputs)
        for topic in (*read, *self._loaded.repartitions):
            standings = self._topics.group_standing(product.name, topic)
            for partition, end in self._topics.ends(topic).items():  # asked behind the standings
                if end > 0:
                    _, note = standings.get(partition, (0, ""))
                    found = Watermarks().parsed(note)
                    yield Mark(found.watermark, found.is_idle)
