"""What a batch breaks of the contracts' rules, with the places of the records. Logs nothing."""

import polars as pl

from headwater.contract import ROW, Rules, Severity, Violation
from headwater.errors import RuleBrokenError
from headwater.model import Partition, Quarantine, RuleViolation
from headwater.ports import Records


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
        published = self._published(frame[ROW]) if rules.needs_publish_times else None
        broken = rules.broken(frame, published)
        for violation in broken.violations:
            self.violations.append(self._counted(rules.contract.topic, violation))
            if violation.rule.severity is Severity.STOP:
                raise self._stop(rules, violation)
        return list(broken.quarantined)

    def _published(self, rows: pl.Series) -> pl.Series:
        if self._published_ms is None:
            self._published_ms = pl.Series(self._records.timestamps_ms(), dtype=pl.Int64)
        return self._published_ms.gather(rows)

    def _counted(self, topic: str, violation: Violation) -> RuleViolation:
        first = self._records.raw(violation.rows[0])
        return RuleViolation(
            topic=topic,
            rule=violation.rule.name,
            severity=violation.rule.severity,
            records=len(violation.rows),
            partition=first.partition,
            offset=first.offset,
        )

    def _stop(self, rules: Rules, violation: Violation) -> RuleBrokenError:
        places = (self._records.raw(row) for row in violation.rows)
        # the lowest offset of the first partition: the same in every run, however batches fall
        place = min((each.partition, each.offset) for each in places)
        contract = rules.contract
        return RuleBrokenError(
            f"{_place(*place)} breaks the {violation.rule} of {contract.topic} v{contract.version},"
            " whose severity is stop; nothing of its transaction is published. Correct what"
            " publishes it, or make the rule one that rejects or warns, then start again"
        )


def _place(partition: Partition, offset: int) -> str:
    return f"{partition}@{offset}"
