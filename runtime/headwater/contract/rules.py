"""Rules over frames: which rows break what the contract asks of each.

One pass answers for all rules and all rows, and mostly the answer is "none". Only then does anybody
look for rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Final

import polars as pl

from headwater.config.durations import format_duration
from headwater.contract.rule import Rule, Severity
from headwater.contract.rule_language import (
    AGE,
    AGE_TYPE,
    FAILURES,
    compiled,
    rule_columns,
    view_type,
)
from headwater.contract.schema import Contract
from headwater.contract.tree import Array, Field, Map, Primitive, Record, Type, optional
from headwater.contract.types import ROW
from headwater.model import Code, Quarantine

STEP: Final = "rules"
_INSTANT: Final = pl.Datetime("ms")


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule of a contract, and the rows of a batch that break it: ascending, each once."""

    rule: Rule
    rows: Sequence[int]


@dataclass(frozen=True, slots=True)
class Broken:
    """What a frame breaks: rules, and the rows that are to be quarantined, with one reason each."""

    violations: Sequence[Violation] = ()
    quarantined: Sequence[Quarantine] = ()


NOTHING: Final = Broken()


@dataclass(frozen=True, slots=True)
class _Check:
    """One expression over a row: false breaks it. `rule` is None for what every contract asks."""

    holds: pl.Expr
    code: Code
    message: str
    rule: Rule | None = None

    @property
    def is_refusing(self) -> bool:
        return self.rule is None or self.rule.severity is Severity.REJECT


class Rules:
    """The rules of one contract, compiled: its own, and what is asked of every contract."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._columns = rule_columns(contract.columns, has_age=contract.event_time is not None)
        self._checks = [*_built_in(contract), *(self._check(rule) for rule in contract.rules)]
        used = {name for check in self._checks for name in check.holds.meta.root_names()}
        self.needs_publish_times: Final = AGE in used
        """Whether `broken` has to be told when the records were published."""
        event_time = {contract.event_time} if self.needs_publish_times else set()
        self._used = [name for name in contract.columns if name in used | event_time]
        self._views: tuple[pl.Schema, list[pl.Expr]] | None = None

    def broken(self, frame: pl.DataFrame, published_ms: pl.Series | None = None) -> Broken:
        """What the rows of a frame break, by their `_row`.

        `published_ms` is the publish time of each row's record (Int64, milliseconds since the
        epoch; negative where there is none), for rules that need it; without it a record has no
        age, which breaks nothing. Columns may be of any type that fits the contract, and those
        with a default may be missing. A row for which a rule cannot be computed breaks it.
        """
        if not self._checks or not frame.height:
            return NOTHING
        seen = frame.select(self._view(frame.schema))
        if self.needs_publish_times:
            seen = seen.with_columns(self._age(seen, published_ms))
        holding = _all_hold(seen, [check.holds for check in self._checks])
        failing = [c for c, holds in zip(self._checks, holding, strict=True) if not holds]
        return self._found(seen, frame[ROW], failing) if failing else NOTHING

    def _check(self, rule: Rule) -> _Check:
        holds = compiled(rule.expression, self._columns)
        return _Check(holds, Code.CONTRACT_VIOLATION, f"the {rule} is broken", rule)

    def _view(self, schema: pl.Schema) -> list[pl.Expr]:
        """How the columns that rules name come to the types rules see; worked out once a schema."""
        if self._views is None or self._views[0] != schema:
            # with the rows, because a default of a column that is missing is one value
            self._views = schema, [pl.col(ROW), *(self._seen(name, schema) for name in self._used)]
        return self._views[1]

    def _seen(self, name: str, schema: pl.Schema) -> pl.Expr:
        wanted = view_type(self.contract.columns[name])
        if name not in schema:
            return pl.lit(self.contract.defaults[name]).first().cast(wanted).alias(name)
        if schema[name] == wanted:
            return pl.col(name)
        return pl.col(name).cast(wanted, strict=False)

    def _age(self, seen: pl.DataFrame, published_ms: pl.Series | None) -> pl.Series:
        if published_ms is None or self.contract.event_time is None:
            return pl.repeat(None, seen.height, dtype=AGE_TYPE, eager=True).alias(AGE)
        published = published_ms.set(published_ms < 0, None).cast(_INSTANT)
        return (published - seen[self.contract.event_time].cast(_INSTANT)).alias(AGE)

    def _found(self, seen: pl.DataFrame, rows: pl.Series, failing: Sequence[_Check]) -> Broken:
        violations: list[Violation] = []
        refused: dict[int, Quarantine] = {}
        for check in failing:
            places = broken_places(seen, check.holds)
            found = rows.gather(places).unique().sort().to_list()
            if check.rule is not None:
                violations.append(Violation(check.rule, found))
            if check.is_refusing:
                for row in found:
                    refused.setdefault(row, Quarantine(row, check.code, check.message, STEP))
        return Broken(violations, [refused[row] for row in sorted(refused)])


def _all_hold(seen: pl.DataFrame, checks: Sequence[pl.Expr]) -> Sequence[bool]:
    """Of each check whether no row breaks it."""
    try:
        return seen.select(
            each.all(ignore_nulls=True).alias(str(place)) for place, each in enumerate(checks)
        ).row(0)
    except FAILURES:
        if len(checks) > 1:
            return [_all_hold(seen, [each])[0] for each in checks]
        return [False]


def broken_places(seen: pl.DataFrame, holds: pl.Expr) -> list[int]:
    """The places of the rows that break a check, or for which it cannot be computed."""
    try:
        return seen.select(holds.not_().fill_null(value=False).arg_true()).to_series().to_list()
    except FAILURES:
        if seen.height == 1:
            return [0]
    half = seen.height // 2  # down to the rows that cannot be computed
    first, second = broken_places(seen[:half], holds), broken_places(seen[half:], holds)
    return [*first, *(half + place for place in second)]


def _built_in(contract: Contract) -> Iterator[_Check]:
    """What is asked of every contract, unless it says otherwise."""
    for field in contract.record.fields:
        if (finite := _finite(pl.col(field.name), field)) is not None:
            yield _Check(finite, Code.NON_FINITE, f"{field.name} holds NaN or an infinity")
    if contract.max_ahead is not None:
        message = f"{contract.event_time} is more than {format_duration(contract.max_ahead)} after"
        holds = pl.col(AGE) >= -contract.max_ahead
        yield _Check(holds, Code.FUTURE_EVENT, f"{message} the record was published")


def _finite(seen: pl.Expr, field: Field) -> pl.Expr | None:
    """Whether every number inside a field is finite; None when nothing has to be."""
    if field.attributes.get("nonFinite", False):
        return None
    return _finite_type(seen, field.type)


def _finite_type(seen: pl.Expr, type_: Type) -> pl.Expr | None:
    match optional(type_) or type_:
        case Primitive("float" | "double"):
            return seen.is_finite()
        case Array(items):
            return _each(seen, _finite_type(pl.element(), items))
        case Map(values):
            return _each(seen, _finite_type(pl.element().struct.field("value"), values))
        case Record(fields=fields):
            found = [_finite(seen.struct.field(each.name), each) for each in fields]
            return reduce(and_, kept) if (kept := [e for e in found if e is not None]) else None
        case _:
            return None


def _each(seen: pl.Expr, items: pl.Expr | None) -> pl.Expr | None:
    if items is None:
        return None
    return seen.list.eval(items.all(ignore_nulls=True)).list.first()
