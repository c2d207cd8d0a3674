"""Whether two versions of a contract get along, in sentences an author can act on.

Backward: the newer reads what the older wrote. Forward: readers of the older read the newer.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.contract.clashes import Clash, Law, clashes
from headwater.contract.keys import key_schema
from headwater.contract.resolve import source_of
from headwater.contract.schema import Contract
from headwater.contract.tree import Array, Field, Map, Record, Type, descend, optional
from headwater.contract.types import key_encoding

BACKWARD: Final = frozenset({"BACKWARD", "BACKWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"})
FORWARD: Final = frozenset({"FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"})
MAJOR: Final = re.compile(r"v([1-9][0-9]*)")
ALIKE: Final = 0.6  # of difflib's 0 to 1: "carrier" and "carrier_code" are 0.74 like, "id", "at" 0

_BACKWARD: Final[Mapping[Law, tuple[str, str]]] = {
    Law.FIELD: (
        "{path} is new in v{newer} and has no default, so that it cannot read v{older}",
        'give it a "default", such as null for ["null", T]',
    ),
    Law.NULL: (
        "{path} was {written} in v{older} and is {read} in v{newer}, which cannot read null",
        "keep null in its type",
    ),
    Law.SYMBOLS: (
        "{path} lost {written}, which v{older} may have written",
        'keep every symbol, or give the enum of v{newer} a "default" among its symbols',
    ),
    Law.NAME: (
        "{path} was named {written} in v{older} and is {read} in v{newer}",
        'add "aliases": ["{written}"] to it',
    ),
    Law.DECIMAL: (
        "{path} was {written} in v{older} and is {read} in v{newer}, which cannot hold it",
        "keep the scale, and no fewer digits",
    ),
    Law.TYPE: (
        "{path} was {written} in v{older} and is {read} in v{newer}, which is no promotion",
        "keep its type and add a field with a default beside it, or publish a new major {major}",
    ),
    Law.RESOLUTION: ("v{newer} cannot read v{older}: {written}", "correct v{newer}"),
}
_FORWARD: Final[Mapping[Law, str]] = {
    Law.FIELD: "{path} has no default in v{older}, whose readers need it, and v{newer} drops it",
    Law.NULL: "{path} may be null in v{newer}, which readers of v{older} cannot read",
    Law.SYMBOLS: "{path} has {written} in v{newer}, which readers of v{older} do not know",
    Law.NAME: "{path} is named {written} in v{newer}, and readers of v{older} know {read}",
    Law.DECIMAL: "{path} is {written} in v{newer}, and readers of v{older} hold {read}",
    Law.TYPE: "{path} is {written} in v{newer}, which readers of v{older} cannot read as {read}",
    Law.RESOLUTION: "readers of v{older} cannot read v{newer}: {written}",
}
_RENAMED: Final = 'it looks renamed from {name}: add "aliases": ["{name}"] to it'
_RENAMED_AWAY: Final = "{path} is named {name} in v{newer}, which readers of v{older} do not know"
_WAYS_ON: Final = (
    'declare "compatibility": "BACKWARD_TRANSITIVE" in v{newer} if its consumers can follow,'
    " or publish a new major {major}"
)


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """One change that a mode does not allow: where, which rule, what it breaks, what to do.

    `path` leads through the field names, `[]` for items, `{}` for values of a map.
    `is_mistake` when the newer cannot read the log written before; else the change can be meant
    (a promotion, a dropped field), and `remedy` names the two ways on.
    """

    path: str
    rule: str
    message: str
    remedy: str
    is_mistake: bool

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"


def incompatibilities(newer: Contract, older: Contract, mode: str) -> list[Incompatibility]:
    """What `newer` changes against `older` that `mode` does not allow; empty when all is well.

    `mode` is one of the registry's; whether it is transitive is the caller's to apply
    (`predecessors`). Two versions are compared, in the directions that the mode asks for.
    """
    unread = clashes(older, newer) if mode in BACKWARD else []
    known = {(each.path, each.rule) for each in unread if each.rule is not Law.SYMBOLS}
    unknown = clashes(newer, older) if mode in FORWARD else []
    return [
        *(_mistake(each, newer, older) for each in unread),
        *(_change(each, newer, older) for each in unknown if (each.path, each.rule) not in known),
    ]


def predecessors(versions: Sequence[Contract], newer: Contract) -> list[Contract]:
    """The versions a newer one must get along with under its own mode, newest first."""
    earlier = sorted(
        (each for each in versions if each.version < newer.version),
        key=lambda each: -each.version,
    )
    if newer.compatibility == "NONE":
        return []
    return earlier if newer.compatibility.endswith("_TRANSITIVE") else earlier[:1]


def next_major(topic: str) -> str:
    """The topic of the next major: `a.b.v2` after `a.b`, `a.b.v3.port` after `a.b.v2.port`."""
    domain, product, *rest = topic.split(".")
    major = MAJOR.fullmatch(rest[0]) if rest else None
    number = int(major[1]) + 1 if major else 2
    return ".".join([domain, product, f"v{number}", *(rest[1:] if major else rest)])


def former_name(name: str, newer: Contract, older: Contract) -> str | None:
    """What a field of the newer version was called in the older one; None when it is new."""
    field = next((each for each in newer.record.fields if each.name == name), None)
    source = None if field is None else source_of(field, older.record)
    return None if source is None else source.name


def former_names(newer: Contract, older: Contract) -> dict[str, str]:
    """The older version's path of each field that both have, by its path in the newer one.

    Paths lead into records: `.` before a field, `[]` for items, `{}` for values of a map.
    """
    return dict(_former(newer.record, older.record, "", ""))


def _former(newer: Type, older: Type, path: str, former: str) -> Iterator[tuple[str, str]]:
    match optional(newer) or newer, optional(older) or older:
        case Record() as read, Record() as written:
            for field in read.fields:
                if (source := source_of(field, written)) is not None:
                    at = f"{path}.{field.name}".lstrip(".")
                    was = f"{former}.{source.name}".lstrip(".")
                    yield at, was
                    yield from _former(field.type, source.type, at, was)
        case Array(items), Array(held):
            yield from _former(items, held, f"{path}[]", f"{former}[]")
        case Map(values), Map(held):
            yield from _former(values, held, f"{path}{{}}", f"{former}{{}}")
        case _:
            return


def key_change(newer: Contract, older: Contract) -> str | None:
    """How the key differs in fields, order or encoding; None when every key stays the same bytes.

    A field renamed with an alias stays the key of one field; a key of several holds their names.
    """
    before, after = ", ".join(older.key) or "none", ", ".join(newer.key) or "none"
    formerly = tuple(former_name(name, newer, older) for name in newer.key)
    if formerly != older.key or (len(newer.key) > 1 and newer.key != older.key):
        return f"the key was {before} in v{older.version} and is {after} in v{newer.version}"
    kinds = [_key_kinds(each) for each in (older, newer)]
    differing = [pair for pair in zip(*kinds, strict=True) if pair[0] != pair[1]]
    if differing:
        told = [", ".join(each) for each in zip(*differing, strict=True)]
        return f"the key {after} was written as {told[0]} in v{older.version} and is {told[1]} now"
    return None


def event_time_change(newer: Contract, older: Contract) -> str | None:
    """How the event time is another field than before; None when it is not, or there was none."""
    before, after = older.event_time, newer.event_time
    if before is None or (after and former_name(after, newer, older) == before):
        return None
    return f"the event time was {before} in v{older.version} and is {after or 'none'} now"


def _key_kinds(contract: Contract) -> list[str]:
    """How each part of the key is written; of several, the schema that is frozen for them."""
    schema = key_schema(contract)
    if schema is None:
        types = {each.name: each.type for each in contract.record.fields}
        return [str(key_encoding(types[name])) for name in contract.key]
    frozen = json.loads(schema)
    return [frozen["name"], *(json.dumps(each["type"]) for each in frozen["fields"])]


def renamed(newer: Contract, older: Contract) -> dict[str, str]:
    """The new fields that look like a vanished one under another name, with the old name."""
    return _renamed(newer.record, older.record)


def _mistake(clash: Clash, newer: Contract, older: Contract) -> Incompatibility:
    """What the newer version cannot read of the older one's log."""
    message, remedy = _BACKWARD[clash.rule]
    if clash.rule is Law.FIELD and (name := _old_name(clash.path, newer, older)) is not None:
        remedy = _RENAMED.replace("{name}", name)
    words = _words(clash, newer, older)
    return Incompatibility(
        clash.path, clash.rule, message.format(**words), remedy.format(**words), is_mistake=True
    )


def _change(clash: Clash, newer: Contract, older: Contract) -> Incompatibility:
    """What readers of the older version cannot read of the newer one."""
    message, words = _FORWARD[clash.rule], _words(clash, newer, older)
    if clash.rule is Law.FIELD and (name := _new_name(clash.path, newer, older)) is not None:
        message = _RENAMED_AWAY.replace("{name}", name)
    return Incompatibility(
        clash.path, clash.rule, message.format(**words), _WAYS_ON.format(**words), is_mistake=False
    )


def _words(clash: Clash, newer: Contract, older: Contract) -> dict[str, str]:
    return {
        "path": clash.path or "the record",
        "written": clash.written,
        "read": clash.read,
        "newer": str(newer.version),
        "older": str(older.version),
        "major": next_major(newer.topic),
    }


def _old_name(path: str, newer: Contract, older: Contract) -> str | None:
    """The vanished field that the new field at `path` looks like."""
    after, before = _around(path, newer), _around(path, older)
    if after is None or before is None:
        return None
    return _renamed(after, before).get(path.rpartition(".")[2])


def _new_name(path: str, newer: Contract, older: Contract) -> str | None:
    """The field of the newer version that has the field at `path` as an alias."""
    after, before = _around(path, newer), _around(path, older)
    if after is None or before is None:
        return None
    name = path.rpartition(".")[2]
    for each in after.fields:
        source = source_of(each, before)
        if source is not None and source.name == name:
            return each.name
    return None


def _around(path: str, contract: Contract) -> Record | None:
    """The record that has the field at `path`, if the contract has one there."""
    parent = path.rpartition(".")[0]
    inside = descend(contract.record)
    return next((r for at, r in inside if at == parent and isinstance(r, Record)), None)


def _renamed(newer: Record, older: Record) -> dict[str, str]:
    sources = {each.name: source_of(each, older) for each in newer.fields}
    kept = {source.name for source in sources.values() if source is not None}
    gone = [(place, each) for place, each in enumerate(older.fields) if each.name not in kept]
    found: dict[str, str] = {}
    for place, new in enumerate(newer.fields):
        likely = [
            (_likeness(new, old), old.name)
            for at, old in gone
            if _bare(new.type) == _bare(old.type) and (at == place or _likeness(new, old) >= ALIKE)
        ]
        if sources[new.name] is None and likely:
            found[new.name] = max(likely)[1]
    return found


def _likeness(one: Field, other: Field) -> float:
    return difflib.SequenceMatcher(None, one.name.lower(), other.name.lower()).ratio()


def _bare(type_: Type) -> Type:
    return optional(type_) or type_
