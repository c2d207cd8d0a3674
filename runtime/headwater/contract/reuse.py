"""Names that belonged to another field: older events and table columns would be read as both."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headwater.contract.resolve import source_of
from headwater.contract.schema import Contract
from headwater.contract.tree import Array, Map, Record, Type, optional


@dataclass(frozen=True, slots=True)
class Reuse:
    """Two fields of one record, by their paths, that hold what was one field: `former`, a path."""

    path: str
    other: str
    former: str


@dataclass(frozen=True, slots=True)
class _Place:
    """The same place in a version, in the one before, and in the one it began with."""

    now: str = ""
    before: str = ""
    first: str = ""

    def step(self, step: str) -> "_Place":
        """The items of a list or the values of a map there."""
        return _Place(self.now + step, self.before + step, self.first + step)


def reused_names(versions: Sequence[Contract]) -> list[Reuse]:
    """The fields of the newest version that hold what another of its fields holds of older ones.

    `versions` are those of one topic, oldest first.
    """
    first: Mapping[str, str] = {}
    before: Record | None = None
    for each in versions:
        first = dict(_fields(each.record, before, first, _Place()))
        before = each.record
    owners: dict[str, str] = {}
    found = [
        Reuse(path, owner, former)
        for path, former in first.items()
        if (owner := owners.setdefault(former, path)) != path
    ]
    return [each for each in found if _record_of(each.path) == _record_of(each.other)]


def _fields(
    newer: Record, older: Record | None, known: Mapping[str, str], place: _Place
) -> Iterator[tuple[str, str]]:
    """The path of each field inside, with the one it began with; `known` are the older one's."""
    for field in newer.fields:
        source = None if older is None else source_of(field, older)
        before = "" if source is None else _join(place.before, source.name)
        first = _join(place.first, field.name) if source is None else known[before]
        at = _Place(_join(place.now, field.name), before, first)
        yield at.now, at.first
        yield from _inside(field.type, None if source is None else source.type, known, at)


def _inside(
    newer: Type, older: Type | None, known: Mapping[str, str], place: _Place
) -> Iterator[tuple[str, str]]:
    held = older if older is None else optional(older) or older
    match optional(newer) or newer:
        case Array(items):
            same = held.items if isinstance(held, Array) else None
            yield from _inside(items, same, known, place.step("[]"))
        case Map(values):
            same = held.values if isinstance(held, Map) else None
            yield from _inside(values, same, known, place.step("{}"))
        case Record() as record:
            same = held if isinstance(held, Record) else None
            yield from _fields(record, same, known, place)
        case _:
            return


def _join(path: str, name: str) -> str:
    return f"{path}.{name}".lstrip(".")


def _record_of(path: str) -> str:
    return path.rpartition(".")[0]
