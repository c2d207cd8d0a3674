"""What a newer version asks of values that an older one did not ask: types resolve all the same.

Whether an expression is stricter than another cannot be decided, so a changed one is told as such.
"""

from collections.abc import Iterator
from datetime import timedelta

from headwater.config.durations import format_duration
from headwater.contract.resolve import source_of
from headwater.contract.rule import Rule, Severity
from headwater.contract.schema import Contract
from headwater.contract.tree import Array, Field, Map, Primitive, Record, Type, optional

_FATES = {
    Severity.REJECT: "goes to the dead letters as CONTRACT_VIOLATION",
    Severity.STOP: "stops its readers",
}


def tightened(newer: Contract, older: Contract) -> list[str]:
    """What changed that may refuse records of the older version, and what becomes of those."""
    found = [*_rules(newer, older)]
    found += [
        f"{path} may no longer hold NaN or an infinity; a record that does goes to the dead letters"
        " as NON_FINITE"
        for path in _finite(older.record, newer.record, "")
    ]
    if _is_nearer(newer.max_ahead, older.max_ahead):
        found.append(
            f"maxAhead was {_distance(older.max_ahead)} and is {_distance(newer.max_ahead)};"
            " a record further ahead goes to the dead letters as FUTURE_EVENT"
        )
    return found


def _rules(newer: Contract, older: Contract) -> Iterator[str]:
    """The rules that refuse more than a warning did, or than nobody asked."""
    before = {each.name: each for each in older.rules}
    kept = {(each.expression, each.severity) for each in older.rules}
    for rule in newer.rules:
        fate = _FATES.get(rule.severity)
        if fate is not None and (rule.expression, rule.severity) not in kept:
            yield f"{_change(rule, before.get(rule.name))}; a record that breaks it {fate}"


def _change(rule: Rule, former: Rule | None) -> str:
    if former is None:
        return f"{rule} is new"
    if former.expression == rule.expression:
        return f"{rule} was of severity {former.severity} and is of severity {rule.severity}"
    return f"rule {rule.name} was {former.expression} and is {rule.expression}"


def _finite(older: Record, newer: Record, path: str) -> Iterator[str]:
    """The fields whose numbers must be finite and need not be before."""
    for field in newer.fields:
        source = source_of(field, older)
        if source is not None and not _is_free(field):
            at = f"{path}.{field.name}".lstrip(".")
            if _is_free(source):
                yield from [at] if _has_floats(source.type) else ()
            else:
                yield from _inside(source.type, field.type, at)


def _inside(older: Type, newer: Type, path: str) -> Iterator[str]:
    match optional(older) or older, optional(newer) or newer:
        case Array(before), Array(after):
            yield from _inside(before, after, path + "[]")
        case Map(before), Map(after):
            yield from _inside(before, after, path + "{}")
        case Record() as before, Record() as after:
            yield from _finite(before, after, path)
        case _:
            return


def _is_free(field: Field) -> bool:
    return bool(field.attributes.get("nonFinite", False))


def _has_floats(type_: Type) -> bool:
    match optional(type_) or type_:
        case Primitive("float" | "double"):
            return True
        case Array(inside) | Map(inside):
            return _has_floats(inside)
        case Record(fields=fields):
            return any(_has_floats(each.type) for each in fields)
        case _:
            return False


def _is_nearer(after: timedelta | None, before: timedelta | None) -> bool:
    return after is not None and (before is None or after < before)


def _distance(limit: timedelta | None) -> str:
    return "without a limit" if limit is None else format_duration(limit)
