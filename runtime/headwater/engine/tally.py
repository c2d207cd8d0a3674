"""Counts of the open transaction."""

from collections import Counter

from headwater.engine.work import Work
from headwater.model import Code, RuleViolation


class Tally:
    """What the open transaction holds: records read and written per topic, codes, rules broken."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.codes: Counter[Code] = Counter()
        self.violations: list[RuleViolation] = []

    def add(self, work: Work) -> None:
        """Count a batch that was staged."""
        self.read[work.topic] += work.read
        for publication in work.publications:
            self.written[publication.topic] += len(publication.values)
        self.codes.update(work.codes)
        self.violations.extend(work.violations)
