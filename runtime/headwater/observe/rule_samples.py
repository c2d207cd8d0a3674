"""A sample of the records that broke a rule which only warns: where they stand, no more."""

from collections import defaultdict, deque
from typing import Final

from headwater.clock import Clock
from headwater.model import RuleViolation
from headwater.observe.logs import get_logger

PER_MINUTE: Final = 5  # lines of one rule: enough to look at, too few to fill a disk
MINUTE_S: Final = 60.0

log: Final = get_logger("rules")


class RuleSamples:
    """Logs at most so many places per rule and minute; the metric counts every one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_at_s: defaultdict[tuple[str, str], deque[float]] = defaultdict(
            lambda: deque(maxlen=PER_MINUTE)
        )

    def tell(self, violation: RuleViolation) -> None:
        """Log a place, unless enough of this rule were logged within the last minute."""
        told, now_s = self._told_at_s[violation.topic, violation.rule], self._clock.monotonic()
        if len(told) == PER_MINUTE and now_s - told[0] < MINUTE_S:
            return
        told.append(now_s)
        log.warning(
            "rules.broken",
            rule=violation.rule,
            contract=violation.topic,
            topic=violation.partition.topic,
            partition=violation.partition.index,
            offset=violation.offset,
            records=violation.records,
        )
