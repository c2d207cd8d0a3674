"""Which records of a run are refused for certain, where steps with state saw all of them.

A record changes what those behind it in its task meet: the state, and the watermark. So one that is
refused behind others that are refused may be sound without them, and is asked again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

import polars as pl

from headwater.contract import Rule, Rules, Severity, Violation
from headwater.engine.rulings import Rulings
from headwater.errors import RuleBrokenError
from headwater.flow import Batch, Processed
from headwater.model import Quarantine, RuleViolation
from headwater.ports import Records

NO_TASK: Final = -1  # of a row that no record made


class Doubt(Enum):
    """What stands against taking a record as refused, and the others as they came out."""

    NONE = auto()
    """Nothing: no other record met anything of it, be it as it may."""
    OTHERS = auto()
    """It is refused whatever came before it; those behind it in its task met what it changed."""
    ALL = auto()
    """It may be sound without those before it; those behind it met what it changed."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that is refused, or broke a rule which stops the product.

    `broken` are the rules of outputs that reject it.
    """

    row: int
    task: int
    why: Quarantine | RuleBrokenError
    doubt: Doubt
    broken: Sequence[tuple[Rules, Rule]] = ()

    def violations(self, rulings: Rulings) -> list[RuleViolation]:
        """What it broke; `rulings` are of the records it is among."""
        return [rulings.counted(rules, Violation(rule, [self.row])) for rules, rule in self.broken]


def certain(suspects: Sequence[Suspect], *, are_all_known: bool) -> list[Suspect]:
    """Those that are refused in whatever batches the records come, and that others met.

    Of each task the first, and all that are refused whatever came before them. None: there is
    nothing to run again. Unless `are_all_known`, one that is not among these may be the first.
    """
    met = [each for each in suspects if each.doubt is not Doubt.NONE]
    alone = {each.row for each in met if each.doubt is Doubt.OTHERS}
    first: dict[int, int] = {}
    for each in met:
        first[each.task] = min(each.row, first.get(each.task, each.row))
    told = set(first.values()) - alone if are_all_known else set[int]()
    return [each for each in suspects if each.doubt is Doubt.OTHERS or each.row in told]


class SetAside:
    """The records of a batch that are refused for certain: `found` by row, and what they broke."""

    def __init__(self) -> None:
        self.found: dict[int, Quarantine] = {}
        self.violations: list[RuleViolation] = []

    def take(self, suspects: Sequence[Suspect], records: Records, start: int) -> int | None:
        """Take those that a piece of `records` told; it began at `start` in the batch.

        The first row for which those before it were all there is to be known; None where there is
        none. Raises RuleBrokenError when one of them stops the product.
        """
        rulings = Rulings(records)
        for each in suspects:
            if isinstance(each.why, RuleBrokenError):
                raise each.why
            self.found.setdefault(each.row + start, replace(each.why, row=each.row + start))
            self.violations += each.violations(rulings)
        rows = [each.row + start for each in suspects if each.doubt is Doubt.ALL]
        return min(rows, default=None)


class Suspicion:
    """Tells of each row that a route refuses what stands against that.

    `doubt` is of whatever is refused behind its plan; `processed` is what came of the plan.
    """

    def __init__(
        self, batch: Batch, processed: Processed, doubt: Doubt, *, is_only_state: bool
    ) -> None:
        self.found: list[Suspect] = []
        self._batch = batch
        self._tasks: list[int] = []
        self._first: dict[int, int] = {}
        self._doubt = doubt
        alone = Doubt.OTHERS if doubt is Doubt.ALL else doubt
        untraced = without_trace(processed, batch) if is_only_state else frozenset()
        for each in processed.quarantined:
            if each.row in processed.alone:
                self._add(each, alone)
            else:
                self._add(each, Doubt.NONE if each.row in untraced else doubt)

    def refused(self, quarantined: Sequence[Quarantine]) -> None:
        """What is refused when it is written."""
        for each in quarantined:
            self._add(each, self._doubt)

    def judge(self, rulings: Rulings, rules: Rules, frame: pl.DataFrame) -> list[RuleViolation]:
        """Ask the rules of an output; all that is broken, counted.

        Raises RuleBrokenError for a rule of severity `stop` that a row breaks by itself.
        """
        broken = rulings.ask(rules, frame)
        rejected: dict[int, list[tuple[Rules, Rule]]] = {}
        for violation in broken.violations:
            if violation.rule.severity is Severity.STOP:
                self._stop(rulings, rules, violation)
            elif violation.rule.severity is Severity.REJECT and self._doubt is not Doubt.NONE:
                for row in violation.rows:
                    rejected.setdefault(row, []).append((rules, violation.rule))
        for each in broken.quarantined:
            self._add(each, self._doubt, rejected.get(each.row, ()))
        return [rulings.counted(rules, each) for each in broken.violations]

    def _stop(self, rulings: Rulings, rules: Rules, violation: Violation) -> None:
        if self._doubt is not Doubt.ALL:
            raise rulings.stop(rules, violation)
        for row in violation.rows:
            if self._may_be_first(row):
                why = rulings.stop(rules, replace(violation, rows=[row]))
                self.found.append(Suspect(row, self._task(row), why, self._doubt))

    def _add(
        self, why: Quarantine, doubt: Doubt, broken: Sequence[tuple[Rules, Rule]] = ()
    ) -> None:
        if doubt is not Doubt.ALL or self._may_be_first(why.row):
            self.found.append(Suspect(why.row, self._task(why.row), why, doubt, broken))

    def _may_be_first(self, row: int) -> bool:
        """Behind the first of its task none is certain: thousands may be refused because of it."""
        task = self._task(row)
        self._first[task] = min(row, self._first.get(task, row))
        return row == self._first[task]

    def _task(self, row: int) -> int:
        if not self._tasks:
            self._tasks = [*self._batch.tasks, NO_TASK]
        return self._tasks[row] if row < len(self._tasks) else NO_TASK


def without_trace(processed: Processed, batch: Batch) -> frozenset[int]:
    """The rows that a first step with state refused and that did not move the watermark."""
    if not processed.by_state:
        return frozenset()
    rows = pl.Series(sorted(processed.by_state), dtype=pl.UInt32)
    behind = (batch.times.gather(rows) < batch.watermarks.gather(rows)).fill_null(value=True)
    return frozenset(rows.filter(behind))
