"""What a contract asks of all its rows together: the attribute `"dataset"`, a list of rules.

No record can be refused for what another one holds, so a stream never asks these; `check-data`
asks them of a snapshot.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

import polars as pl

from headwater.contract.rule import NAME
from headwater.contract.tree import Mistake

KINDS: Final = ("unique", "rows", "references")
AT: Final = '"dataset"'


class DatasetSeverity(StrEnum):
    """What a broken rule over many rows comes to."""

    FAIL = "fail"
    """The check fails."""
    WARN = "warn"
    """The check tells it, and does not fail."""


@dataclass(frozen=True, slots=True)
class Unique:
    """No two rows hold the same values in these fields; one with a null among them equals none."""

    name: str
    severity: DatasetSeverity
    fields: tuple[str, ...]

    def __str__(self) -> str:
        return f"unique {', '.join(self.fields)}"


@dataclass(frozen=True, slots=True)
class RowCount:
    """There are at least and at most so many rows; None for any number."""

    name: str
    severity: DatasetSeverity
    least: int | None
    most: int | None

    def __str__(self) -> str:
        bounds = (("at least", self.least), ("at most", self.most))
        return " and ".join(f"{word} {n:,}" for word, n in bounds if n is not None) + " rows"

    def holds(self, rows: int) -> bool:
        """Whether so many rows are neither too few nor too many."""
        return (self.least or 0) <= rows and (self.most is None or rows <= self.most)


@dataclass(frozen=True, slots=True)
class References:
    """The values of these fields, unless one is null, are those of `to` in a row of `topic`."""

    name: str
    severity: DatasetSeverity
    fields: tuple[str, ...]
    topic: str
    to: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.fields)} in {self.topic} ({', '.join(self.to)})"


DatasetRule: TypeAlias = Unique | RowCount | References


class DatasetReader:
    """Reads the rules over many rows of a contract: `rules`, and `mistakes` for what is none.

    `taken` are the names of its rules of each row: reports tell rules by their names.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        columns: Mapping[str, pl.DataType],
        taken: Iterable[str] = (),
    ) -> None:
        self.mistakes: list[Mistake] = []
        self._columns = columns
        given = schema.get("dataset", [])
        if not isinstance(given, list):
            self._wrong(AT, '"dataset" is a list of rules')
            given = []
        self.rules: tuple[DatasetRule, ...] = tuple(
            rule for each in given if (rule := self._read(each)) is not None
        )
        for name, times in Counter(each.name for each in self.rules).items():
            if times > 1:
                self._wrong(name, f"{times} rules over many rows have the name {name}")
        for name in {each.name for each in self.rules} & set(taken):
            self._wrong(name, f"a rule of each row has the name {name} too; give each its own")

    def _wrong(self, at: str, message: str) -> None:
        self.mistakes.append(Mistake(at, message, "BAD_RULE"))

    def _read(self, given: object) -> DatasetRule | None:
        if not isinstance(given, Mapping) or len(kinds := [k for k in KINDS if k in given]) != 1:
            self._wrong(AT, f"a rule of {AT} has a name and one of {', '.join(KINDS)}")
            return None
        name, severity = given.get("name"), given.get("severity", DatasetSeverity.FAIL)
        if not isinstance(name, str) or not NAME.match(name):
            self._wrong(AT, f'a rule of {AT} needs a "name" of letters, digits, dots, dashes and _')
        elif severity not in tuple(DatasetSeverity):
            choices = " or ".join(DatasetSeverity)
            self._wrong(name, f'"severity" of {name} is {choices}: no record can be rejected')
        elif unknown := sorted(given.keys() - {"name", "severity", *kinds}):
            self._wrong(name, f"{', '.join(unknown)} of {name} is not known")
        else:
            return self._made(name, DatasetSeverity(severity), kinds[0], given[kinds[0]])
        return None

    def _made(
        self, name: str, severity: DatasetSeverity, kind: str, given: Any
    ) -> DatasetRule | None:
        match kind, given:
            case "unique", [_, *_] if fields := self._fields(name, given):
                return Unique(name, severity, fields)
            case "rows", Mapping() if _are_bounds(given):
                return RowCount(name, severity, *map(given.get, ("min", "max")))
            case "references", {"topic": str(topic), "fields": ours, "to": theirs, **rest}:
                fields, to = self._fields(name, ours), _names(theirs)
                if fields and to and len(fields) == len(to) and not rest:
                    return References(name, severity, fields, topic, to)
            case _:
                pass
        if not any(each.path == name for each in self.mistakes):
            self._wrong(name, f"{name}: {_FORMS[kind]}")
        return None

    def _fields(self, name: str, given: Any) -> tuple[str, ...] | None:
        names = _names(given)
        if names is None or len(set(names)) < len(names):
            return None
        for each in names:
            if (reason := _incomparable(each, self._columns)) is not None:
                self._wrong(name, f"{name}: {reason}")
                return None
        return names


def reference_mistakes(
    rule: References,
    columns: Mapping[str, pl.DataType],
    referenced: Mapping[str, pl.DataType],
) -> Iterator[str]:
    """Why the fields of a rule cannot be looked up in a topic with these columns."""
    for ours, theirs in zip(rule.fields, rule.to, strict=True):
        if (reason := _incomparable(theirs, referenced)) is not None:
            yield f"{rule.name}: {reason} in {rule.topic}"
        elif comparable(columns[ours]) != comparable(referenced[theirs]):
            yield (
                f"{rule.name}: {ours} is {columns[ours]}, {theirs} of {rule.topic} is"
                f" {referenced[theirs]}; they never equal"
            )


def comparable(kind: pl.DataType) -> pl.DataType:
    """The type in which values of different contracts are compared: all integers as one."""
    if kind.is_integer():
        return pl.Int64()
    if isinstance(kind, pl.Enum):
        return pl.String()
    return pl.Datetime("us", "UTC") if isinstance(kind, pl.Datetime) and kind.time_zone else kind


_FORMS: Final = {
    "unique": '"unique" is a list of different fields',
    "rows": '"rows" is {"min": 1000, "max": 2000}, or one of the two; "min" is at most "max"',
    "references": '"references" is {"topic": "fleet.aircraft", "fields": ["tailnum"],'
    ' "to": ["tailnum"]}, with as many fields here as there',
}


def _names(given: Any) -> tuple[str, ...] | None:
    is_list = isinstance(given, list) and all(isinstance(each, str) for each in given)
    return tuple(given) if is_list else None


def _are_bounds(bounds: Mapping[Any, Any]) -> bool:
    numbers = list(bounds.values())
    if not bounds or not bounds.keys() <= {"min", "max"}:
        return False
    are_counts = all(type(each) is int and each >= 0 for each in numbers)
    return are_counts and bounds.get("min", 0) <= bounds.get("max", max(numbers))


def _incomparable(name: str, columns: Mapping[str, pl.DataType]) -> str | None:
    """Why values of a field cannot be compared for equality; None when they can."""
    if name not in columns:
        return f"there is no field {name}"
    if columns[name].is_nested() or columns[name].is_float():
        return f"{name} is {columns[name]}, which has no equality to rely on"
    return None
