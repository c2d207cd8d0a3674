"""Which records of an attempt are refused for certain, where steps with state saw all of them.

A record changes what those behind it in its task meet: the state, and the watermark. So one that is
refused behind others that are refused may be sound without them, and is asked again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

import polars as pl

from headwater.contract import Rules, Severity
from headwater.engine.rulings import Rulings
from headwater.errors import RuleBrokenError
from headwater.flow import Batch, Processed
from headwater.model import Quarantine, RuleViolation

NO_TASK: Final = -1  # of a row that no record made


class Depends(Enum):
    """On what it depends that a record is refused."""

    ITSELF = auto()
    """On nothing but the record."""
    BEFORE = auto()
    """On the records before it in its task; itself it changed nothing."""
    STATE = auto()
    """On the records before it in its task; those behind it saw what it changed."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that an attempt refused, or that broke a rule which stops the product.

    `broken` are the rules of outputs that reject it.
    """

    row: int
    task: int
    why: Quarantine | RuleBrokenError
    depends: Depends
    broken: Sequence[RuleViolation] = ()

    def moved(self, places: Sequence[int]) -> "Suspect":
        """The same in a batch of which the rows are `places`."""
        row, why = places[self.row], self.why
        if isinstance(why, Quarantine):
            why = replace(why, row=row)
        return replace(self, row=row, why=why)


def certain(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Those that are refused in whatever batches the records come.

    All that depend on themselves alone; and of each task, in log order, up to the first that others
    may depend on. At least one of any. Raises RuleBrokenError when one of these stops the product.
    """
    found = [each for each in suspects if each.depends is Depends.ITSELF]
    alone = {each.row for each in found}
    closed: set[int] = set()
    for each in _of_each_row(suspects):
        first = each[0]
        if first.task in closed:
            continue
        if first.row in alone:
            closed.add(first.task)
            continue
        for suspect in each:
            if isinstance(suspect.why, RuleBrokenError):
                raise suspect.why
        found += each
        if any(suspect.depends is Depends.STATE for suspect in each):
            closed.add(first.task)
    return found


def _of_each_row(suspects: Sequence[Suspect]) -> Iterator[list[Suspect]]:
    """By task, then in log order; of one row in the order in which they were found."""
    rows: dict[tuple[int, int], list[Suspect]] = {}
    for each in suspects:
        rows.setdefault((each.task, each.row), []).append(each)
    for place in sorted(rows):
        yield rows[place]


def violations_of(suspects: Sequence[Suspect]) -> list[RuleViolation]:
    """What these broke of the rules of outputs: of each rule one, with the first of its records."""
    found: dict[tuple[str, str], RuleViolation] = {}
    for suspect in sorted(suspects, key=lambda each: each.row):
        for each in suspect.broken:
            known = found.get((each.topic, each.rule))
            new = each if known is None else replace(known, records=known.records + 1)
            found[each.topic, each.rule] = new
    return list(found.values())


class Suspicion:
    """Tells of each row that a route refuses on what that depends.

    `depends` of whatever is refused behind its plan; `processed` is what came of the plan.
    """

    def __init__(
        self, batch: Batch, processed: Processed, depends: Depends, *, is_only_state: bool
    ) -> None:
        self.found: list[Suspect] = []
        self._tasks = batch.tasks
        self._told = len(batch.watermarks) > 0  # else the attempt is the only one, and counts
        self._depends = depends
        untraced = without_trace(processed, batch) if is_only_state else frozenset()
        for each in processed.quarantined:
            if each.row in processed.alone:
                self._add(each, Depends.ITSELF)
            else:
                self._add(each, Depends.BEFORE if each.row in untraced else depends)

    def _add(self, why: Quarantine, depends: Depends, broken: Sequence[RuleViolation] = ()) -> None:
        self.found.append(Suspect(why.row, self._task(why.row), why, depends, broken))

    def _task(self, row: int) -> int:
        return self._tasks[row] if row < len(self._tasks) else NO_TASK

    def refused(self, quarantined: Sequence[Quarantine]) -> None:
        """What is refused when it is written."""
        for each in quarantined:
            self._add(each, self._depends)

    def judge(self, rulings: Rulings, rules: Rules, frame: pl.DataFrame) -> None:
        """Ask the rules of an output.

        Raises RuleBrokenError for a rule of severity `stop` that a row breaks by itself.
        """
        broken = rulings.ask(rules, frame)
        rejected: dict[int, list[RuleViolation]] = {}
        for violation in broken.violations:
            severity = violation.rule.severity
            if severity is Severity.STOP and self._depends is Depends.ITSELF:
                raise rulings.stop(rules, violation)
            for row in violation.rows if self._told and severity is not Severity.WARN else ():
                of_row = replace(violation, rows=[row])
                if severity is Severity.STOP:
                    why = rulings.stop(rules, of_row)
                    self.found.append(Suspect(row, self._task(row), why, self._depends))
                else:
                    rejected.setdefault(row, []).append(rulings.counted(rules, of_row))
        for each in broken.quarantined:
            self._add(each, self._depends, rejected.get(each.row, ()))


def without_trace(processed: Processed, batch: Batch) -> frozenset[int]:
    """The rows that a first step with state refused and that did not move the watermark."""
    if not processed.by_state:
        return frozenset()
    rows = pl.Series(sorted(processed.by_state), dtype=pl.UInt32)
    behind = (batch.times.gather(rows) < batch.watermarks.gather(rows)).fill_null(value=True)
    return frozenset(rows.filter(behind))
