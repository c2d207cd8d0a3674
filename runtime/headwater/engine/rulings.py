"""What a batch breaks of the contracts' rules, with the places of the records. Logs nothing."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import polars as pl

from headwater.contract import ROW, Broken, Rules, Severity, Violation
from headwater.errors import RuleBrokenError
from headwater.model import Partition, Quarantine, RuleViolation
from headwater.ports import Records

NO_TIME: Final = -1  # as Kafka writes it for a record without a timestamp
NOWHERE: Final = -1  # partition and offset of a row that no single record made


class Rulings:
    """Asks the rules of inputs and outputs about the records of one batch."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._published_ms: pl.Series | None = None
        self.violations: list[RuleViolation] = []

    def sound(self, rules: Rules, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Quarantine]]:
        """The rows that no rule rejects, and the others as quarantines.

        Raises RuleBrokenError as `judge` does.
        """
        quarantined = self.judge(rules, frame)
        if quarantined:
            refused = pl.Series([each.row for each in quarantined], dtype=frame[ROW].dtype)
            frame = frame.filter(~frame[ROW].is_in(refused.implode()))
        return frame, quarantined

    def judge(self, rules: Rules, frame: pl.DataFrame) -> list[Quarantine]:
        """The records whose rows in the frame are rejected; counts what was broken.

        Raises RuleBrokenError when a rule of severity `stop` is broken.
        """
        broken = self.ask(rules, frame)
        for violation in broken.violations:
            if violation.rule.severity is Severity.STOP:
                raise self.stop(rules, violation)
            self.violations.append(self.counted(rules, violation))
        return list(broken.quarantined)

    def ask(self, rules: Rules, frame: pl.DataFrame) -> Broken:
        """What the rows of a frame break. Counts nothing: some may turn out to be none."""
        published = self._published(frame[ROW]) if rules.needs_publish_times else None
        return rules.broken(frame, published)

    def _published(self, rows: pl.Series) -> pl.Series:
        if self._published_ms is None:
            times = [*self._records.timestamps_ms(), NO_TIME]  # the last is of what no record made
            self._published_ms = pl.Series(times, dtype=pl.Int64)
        return self._published_ms.gather(rows)

    def counted(self, rules: Rules, violation: Violation) -> RuleViolation:
        """A violation with the place of the first of its records."""
        partition, offset = self._place(violation.rows[0])
        return RuleViolation(
            topic=rules.contract.topic,
            rule=violation.rule.name,
            severity=violation.rule.severity,
            records=len(violation.rows),
            partition=partition,
            offset=offset,
        )

    def _place(self, row: int) -> tuple[Partition, int]:
        if row == len(self._records):
            return Partition(self._records.topic, NOWHERE), NOWHERE
        record = self._records.raw(row)
        return record.partition, record.offset

    def stop(self, rules: Rules, violation: Violation) -> RuleBrokenError:
        """Why the product stops."""
        # the lowest offset of the first partition: the same in every run, however batches fall
        place = min(map(self._place, violation.rows))
        contract = rules.contract
        return RuleBrokenError(
            f"{_told(*place)} breaks the {violation.rule} of {contract.topic} v{contract.version},"
            " whose severity is stop; nothing of its transaction is published. Correct what"
            " publishes it, or make the rule one that rejects or warns, then start again"
        )


def _told(partition: Partition, offset: int) -> str:
    if offset == NOWHERE:
        return f"What was computed of several records of {partition.topic}"
    return f"{partition}@{offset}"


def counted_together(violations: Iterable[RuleViolation]) -> list[RuleViolation]:
    """Of each rule of a topic one, with all its records and the place of the first of them."""
    found: dict[tuple[str, str], RuleViolation] = {}
    for each in violations:
        known = found.setdefault((each.topic, each.rule), each)
        if known is not each:
            first = min(known, each, key=lambda one: (one.partition, one.offset))
            together = replace(first, records=known.records + each.records)
            found[each.topic, each.rule] = together
    return list(found.values())
