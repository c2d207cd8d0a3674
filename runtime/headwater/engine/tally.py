"""What staged batches add up to: it counts once their transaction is committed."""

from collections import Counter

from headwater.engine.limit import BadRecordWindow
from headwater.engine.work import Work
from headwater.model import Code, RuleViolation
from headwater.ports import Monitor


class Tally:
    """Records read and written per topic, codes and rules broken, of the open transaction."""

    def __init__(self, window: BadRecordWindow, monitor: Monitor) -> None:
        self._window = window
        self._monitor = monitor
        self._clear()

    def _clear(self) -> None:
        self._read: Counter[str] = Counter()
        self._written: Counter[str] = Counter()
        self._codes: Counter[Code] = Counter()
        self._skipped: Counter[str] = Counter()
        self._late: Counter[str] = Counter()
        self._duplicates: Counter[str] = Counter()
        self._unordered: Counter[str] = Counter()
        self._violations: list[RuleViolation] = []

    def add(self, work: Work) -> None:
        """Count a batch before it is staged. Raises TooManyBadRecordsError when a limit trips."""
        bad = {**work.codes}
        bad.pop(Code.PARKED, None)  # nothing is wrong with those
        # what was moved was counted when it was read as an input; only what is refused is news
        read = sum(bad.values()) if work.is_internal else work.read
        self._window.observe(read=read, codes=bad, dead_letters=work.dead_letters)
        self._read[work.topic] += work.read
        for publication in work.publications:
            self._written[publication.topic] += len(publication.values)
        self._codes.update(work.codes)
        if work.skipped:
            self._skipped[work.topic] += work.skipped
        self._late.update(work.too_late)
        self._duplicates.update(work.duplicates)
        self._unordered.update(work.unordered)
        self._violations.extend(work.violations)

    def settle(self) -> None:
        """What was staged is committed: tell the monitor."""
        self._window.settle()
        self._monitor.limits_used(self._window.used())
        self._monitor.counted(read=self._read, written=self._written, codes=self._codes)
        if self._skipped:
            self._monitor.skipped(self._skipped)
        if self._late:
            self._monitor.late(self._late)
        if self._duplicates:
            self._monitor.duplicates(self._duplicates)
        if self._unordered:
            self._monitor.unordered(self._unordered)
        if self._violations:
            self._monitor.rules_broken(self._violations)
        self._clear()

    def discard(self) -> None:
        """What was staged comes again."""
        self._window.discard()
        self._clear()
