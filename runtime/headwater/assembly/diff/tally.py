"""What two definitions came to, counted as batches go by: rows, columns, dead letters.

Holds counts and a few rows, whatever the size of the cut.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import polars as pl

from headwater.assembly.diff.frames import Column, RowDiff, lay_out
from headwater.assembly.diff.sample import Kind, Sample
from headwater.contract import ROW, ROW_TYPE, Contract, masked_fields
from headwater.errors import ConfigurationError, Problem
from headwater.flow.windows import WINDOW_START
from headwater.model import Partition, RuleViolation
from headwater.ports import Records

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
ONE_SIDED: Final[tuple[Kind, ...]] = ("added", "removed")


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, in words; of kind `changed` it may be of one column.

    `stopped`: the candidate's run would end before the end.
    """

    kind: Kind | Literal["stopped"]
    text: str
    column: str | None = None

    @property
    def flag(self) -> str | None:
        """What allows it; None for what nobody can mean."""
        if self.kind == "stopped":
            return None
        return self.kind if self.column is None else f"{self.kind}:{self.column}"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may differ: kinds as a whole, and columns whose values may, with what is in them."""

    kinds: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Allowance":
        """Of `added`, `removed`, `changed` and `changed:<column>`. Raises ConfigurationError."""
        kinds: set[str] = set()
        columns: set[str] = set()
        for text in texts:
            kind, colon, column = text.partition(":")
            if kind not in KINDS or (colon and (kind != "changed" or not column)):
                message = f"--allow {text}: write added, removed, changed or changed:<column>"
                raise ConfigurationError([Problem("BAD_VALUE", message)])
            (columns if colon else kinds).add(column if colon else kind)
        return cls(frozenset(kinds), frozenset(columns))

    def takes(self, finding: Finding) -> bool:
        """Whether a difference is meant."""
        column = finding.column
        return finding.kind in self.kinds or (
            column is not None
            and any(column == each or column.startswith(f"{each}.") for each in self.columns)
        )


class PortTally:
    """One output port of two definitions; None for the contract of a side that lacks it.

    `rows` counts `today`, `candidate`, `equal`, `added`, `removed` and `changed` rows, `columns`
    the changed rows per column. `empties` are frames for either side when it makes nothing.
    """

    def __init__(
        self, today: Contract | None, candidate: Contract | None, *, sample_size: int
    ) -> None:
        either = today or candidate
        if either is None:
            message = "a port is on one side at least"
            raise ValueError(message)
        self.today: Final = today
        self.candidate: Final = candidate
        self.topic: Final = either.topic
        self.empties: Final = _no_rows(today or either), _no_rows(candidate or either)
        self.layout: Final = lay_out((today or either).columns, (candidate or either).columns)
        shared = {each.name: each for each in self.layout.shared}
        self.is_key_changed: Final = (today or either).key != (candidate or either).key
        names = () if self.is_key_changed else either.key
        self.key: Final[list[Column]] = [shared[each] for each in names if shared[each].type]
        sensitive = masked_fields(*filter(None, (today, candidate)))
        self.sample: Final = Sample(either.key, self.layout.shared, sensitive, sample_size)
        self.rows: Final[Counter[str]] = Counter()
        self.columns: Final[Counter[str]] = Counter()

    def window_key(self) -> list[Column]:
        """What names a row that no single record made: its key, and the start of its window.

        Its end may be what differs, as that of a session.
        """
        named = {each.name for each in self.key}
        bounds = [each for each in self.layout.shared if each.name == WINDOW_START and each.type]
        return [*self.key, *(each for each in bounds if each.name not in named)]

    def add(self, records: Records | None, diff: RowDiff) -> None:
        """Count one batch, compared; of no records where none of them made its rows."""
        pairs = diff.pairs[0].height
        changed = diff.differs.select(pl.any_horizontal(pl.all())).to_series()
        found = {
            "added": diff.added.height,
            "removed": diff.removed.height,
            "changed": int(changed.sum()),
        }
        self.rows.update(
            found,
            today=pairs + found["removed"],
            candidate=pairs + found["added"],
            equal=pairs - found["changed"],
        )
        if any(found.values()):
            sums = {each.name: int(each.sum()) for each in diff.differs}
            self.columns.update({name: number for name, number in sums.items() if number})
            self.sample.add(records, diff, changed)

    def findings(self) -> Iterator[Finding]:
        """Every difference of this port."""
        yield from self._declared()
        for kind in ONE_SIDED:
            if number := self.rows[kind]:
                yield Finding(kind, f"{_rows(number)} of {self.topic} {kind}")
        for name, number in self.columns.items():
            yield Finding("changed", f"{name} of {self.topic} differs in {_rows(number)}", name)

    def _declared(self) -> Iterator[Finding]:
        """What differs whatever the rows are."""
        if self.today is None:
            yield Finding("added", f"the port {self.topic} is new")
        if self.candidate is None:
            yield Finding("removed", f"the port {self.topic} is gone")
        if self.is_key_changed:
            yield Finding("changed", f"the key of {self.topic} is another")
        for name in self.layout.added:
            yield Finding("changed", f"the column {name} of {self.topic} is new", name)
        for name in self.layout.removed:
            yield Finding("changed", f"the column {name} of {self.topic} is gone", name)


@dataclass(slots=True)
class RefusedTally:
    """The input records that either side sets aside, by code.

    `only_today` and `only_candidate` are of records that the other side takes; `recoded` are those
    that both set aside, for another reason.
    """

    today: Counter[str] = field(default_factory=Counter)
    candidate: Counter[str] = field(default_factory=Counter)
    only_today: Counter[str] = field(default_factory=Counter)
    only_candidate: Counter[str] = field(default_factory=Counter)
    recoded: Counter[str] = field(default_factory=Counter)

    def add(self, today: Mapping[int, str], candidate: Mapping[int, str]) -> None:
        """Count one batch: the code of each record that was set aside, by its offset."""
        self.today.update(today.values())
        self.candidate.update(candidate.values())
        self.only_today.update(today[each] for each in today.keys() - candidate.keys())
        self.only_candidate.update(candidate[each] for each in candidate.keys() - today.keys())
        self.recoded.update(
            f"{today[each]} -> {candidate[each]}"
            for each in today.keys() & candidate.keys()
            if today[each] != candidate[each]
        )

    def findings(self) -> Iterator[Finding]:
        """Every difference; what comes back counts as added, what is newly lost as removed."""
        for code, number in self.only_candidate.items():
            yield Finding("removed", f"{_records(number)} more in the dead letters: {code}")
        for code, number in self.only_today.items():
            yield Finding("added", f"{_records(number)} fewer in the dead letters: {code}")
        for codes, number in self.recoded.items():
            text = f"{_records(number)} in the dead letters with another code: {codes}"
            yield Finding("changed", text)


@dataclass(slots=True)
class StopTally:
    """The first record of each partition at which a run of either side would stop.

    What breaks a rule of severity `stop` there; what is behind it is compared all the same.
    """

    today: dict[Partition, RuleViolation] = field(default_factory=dict)
    candidate: dict[Partition, RuleViolation] = field(default_factory=dict)

    def add(self, today: Iterable[RuleViolation], candidate: Iterable[RuleViolation]) -> None:
        """Count one batch."""
        for first, found in ((self.today, today), (self.candidate, candidate)):
            for each in found:
                known = first.setdefault(each.partition, each)
                if each.offset < known.offset:
                    first[each.partition] = each

    def shared(self) -> list[RuleViolation]:
        """Where both stop at one record, which is no difference."""
        return [
            each
            for place, each in sorted(self.candidate.items())
            if place in self.today and self.today[place].offset == each.offset
        ]

    def findings(self) -> Iterator[Finding]:
        """Every difference; that the candidate goes on where today's stops counts as added."""
        gone = [each for place, each in sorted(self.today.items()) if place not in self.candidate]
        if gone:
            text = f"the candidate goes on where today's definition stops, at {stop_text(gone)}"
            yield Finding("added", text)
        shared = {each.partition for each in self.shared()}
        new = [each for place, each in sorted(self.candidate.items()) if place not in shared]
        if new:
            earlier = [self.today[each.partition] for each in new if each.partition in self.today]
            text = f"; today's stops at {stop_text(earlier)}" if earlier else ""
            yield Finding("stopped", f"the candidate stops at {stop_text(new)}{text}")


def stop_text(stops: Sequence[RuleViolation]) -> str:
    """Where a run stops and why, in words."""
    first = stops[0]
    text = f"{first.partition}@{first.offset}, which breaks the rule {first.rule} of {first.topic}"
    more = len(stops) - 1
    return f"{text} (and in {more} other partition{'' if more == 1 else 's'})" if more else text


def _no_rows(contract: Contract) -> pl.DataFrame:
    return pl.DataFrame(schema={**contract.columns, ROW: ROW_TYPE})


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


def _records(number: int) -> str:
    return f"{number:,} record{'' if number == 1 else 's'}"
