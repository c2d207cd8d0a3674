"""Whether events read through a version in between are what they are read as directly.

A table keeps rows as the version that took them read them; the log is read anew by every version.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from headwater.contract import defaults
from headwater.contract.resolve import source_of
from headwater.contract.schema import Contract
from headwater.contract.tree import MISSING, Array, Enum, Field, Map, Record, Type, optional


@dataclass(frozen=True, slots=True)
class _From:
    """A field that is read from another one."""

    name: str
    flow: "_Flow"


@dataclass(frozen=True, slots=True)
class _Default:
    """A field that the writer lacks."""

    value: Any


@dataclass(frozen=True, slots=True)
class _Fields:
    """Of a record."""

    fields: Mapping[str, _From | _Default]


@dataclass(frozen=True, slots=True)
class _Inside:
    """Of the items of a list, or of the values of a map."""

    step: str
    flow: "_Flow"


@dataclass(frozen=True, slots=True)
class _Symbols:
    """Of an enum: what each symbol of the writer is read as."""

    read: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class _Value:
    """Of everything else: the value itself, perhaps in a wider type."""


_Flow: TypeAlias = _Fields | _Inside | _Symbols | _Value
"""What becomes of a writer's value, in Avro's schema resolution."""

_VALUE: Final = _Value()


def detours(first: Contract, between: Contract, last: Contract) -> list[str]:
    """Paths in `last` that may differ for events of `first` which `between` read on the way.

    A default that changed, a field or a symbol that came back, an alias that is gone. What a
    version cannot read of another at all is not asked.
    """
    direct = _flow(first.record, last.record)
    through = _then(_flow(first.record, between.record), _flow(between.record, last.record))
    return list(dict.fromkeys(_differing(direct, through, "")))


def _flow(writer: Type, reader: Type) -> _Flow:
    match optional(writer) or writer, optional(reader) or reader:
        case Record() as written, Record() as wanted:
            fields: dict[str, _From | _Default] = {}
            for each in wanted.fields:
                if (source := source_of(each, written)) is not None:
                    fields[each.name] = _From(source.name, _flow(source.type, each.type))
                else:
                    fields[each.name] = _Default(_default(each))
            return _Fields(fields)
        case Array(written), Array(wanted):
            return _Inside("[]", _flow(written, wanted))
        case Map(written), Map(wanted):
            return _Inside("{}", _flow(written, wanted))
        case Enum() as written, Enum() as wanted:
            known = set(wanted.symbols)
            return _Symbols({s: s if s in known else wanted.default for s in written.symbols})
        case _:
            return _VALUE


def _default(field: Field) -> Any:
    is_there = field.default is not MISSING
    return defaults.physical(field.default, field.type) if is_there else MISSING


def _then(first: _Flow, second: _Flow) -> _Flow:
    match first, second:
        case _Fields(held), _Fields(wanted):
            return _Fields({name: _through(each, held) for name, each in wanted.items()})
        case _Inside(step, one), _Inside(_, other):
            return _Inside(step, _then(one, other))
        case _Symbols(one), _Symbols(other):
            return _Symbols({s: None if read is None else other[read] for s, read in one.items()})
        case _:
            return _VALUE


def _through(wanted: _From | _Default, held: Mapping[str, _From | _Default]) -> _From | _Default:
    if isinstance(wanted, _Default):
        return wanted
    match held[wanted.name]:
        case _From(name, flow):
            return _From(name, _then(flow, wanted.flow))
        case _Default(value):
            return _Default(_read(value, wanted.flow))


def _read(value: Any, flow: _Flow) -> Any:
    """What a value, as `defaults.physical` gives it, is read as."""
    if value is None or value is MISSING:
        return value
    match flow:
        case _Fields(fields):
            return {
                name: each.value
                if isinstance(each, _Default)
                else _read(value[each.name], each.flow)
                for name, each in fields.items()
            }
        case _Inside("[]", inner):
            return [_read(each, inner) for each in value]
        case _Inside(_, inner):
            return [(key, _read(each, inner)) for key, each in value]
        case _Symbols(read):
            return read[value]
        case _:
            return value


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other) or repr(one) == repr(other)  # NaN is not equal to itself


def _differing(direct: _Flow, through: _Flow, path: str) -> Iterator[str]:
    match direct, through:
        case _Fields(one), _Fields(other):
            for name, each in one.items():
                at = f"{path}.{name}".lstrip(".")
                match each, other[name]:
                    case _From(source, flow), _From(same, its) if source == same:
                        yield from _differing(flow, its, at)
                    case _Default(value), _Default(same) if _is_same(value, same):
                        continue
                    case _:
                        yield at
        case _Inside(step, one), _Inside(_, other):
            yield from _differing(one, other, path + step)
        case _:
            if direct != through:
                yield path
