"""Writer's columns -> reader's columns: Avro's schema resolution, planned once per writer schema.

Promotions, defaults, aliases, dropped and reordered fields, enum defaults, nullable to required.
What can never resolve is a reason of the plan; what cannot in one row marks that row.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from headwater.contract import defaults
from headwater.contract.arrays import (
    KEY,
    VALUE,
    Faults,
    Place,
    children,
    entries,
    list_of,
    null_where,
    struct,
    tight,
    unexpected_nulls,
)
from headwater.contract.leaves import physical_type, to_logical
from headwater.contract.tree import (
    MISSING,
    NULL,
    Array,
    Decimal,
    Enum,
    Field,
    Fixed,
    Leaf,
    Map,
    Primitive,
    Record,
    Shapes,
    Type,
    fold,
    optional,
)
from headwater.model import Code

Step: TypeAlias = Callable[[Any, Place, Faults], Any]
"""Physical array of the writer -> logical array of the reader."""

PROMOTIONS: Final = frozenset(
    {
        ("int", "long"),
        ("int", "float"),
        ("int", "double"),
        ("long", "float"),
        ("long", "double"),
        ("float", "double"),
        ("string", "bytes"),
        ("bytes", "string"),
    }
)

PHYSICAL: Final[Shapes[Any]] = Shapes(
    leaf=physical_type,
    array=pa.list_,
    map=lambda values: pa.map_(pa.string(), values),
    record=pa.struct,
)


class Resolution:
    """How a writer's records become a reader's columns; `reasons` tells why they never can."""

    def __init__(self, writer: Type, reader: Record) -> None:
        self.reasons: list[str] = []
        self.used: Type = NULL
        self._fields: list[tuple[str, Field | None, Step]] = []
        if not isinstance(writer, Record):
            self.reasons.append("the writer's schema is not a record")
        elif not same_name(writer, reader):
            self.reasons.append(f"the writer's record is {writer.name}, not {reader.name}")
        else:
            self._fields = self._record(writer, reader, "")
            self.used = used(writer, reader)

    def resolve(self, columns: Mapping[str, Any], rows: int, faults: Faults) -> list[Any]:
        """The reader's arrays, in its order. Rows in `faults` hold nothing of worth."""
        return _run(self._fields, columns, rows, (Place(""), faults))

    def _record(
        self, writer: Record, reader: Record, path: str
    ) -> list[tuple[str, Field | None, Step]]:
        fields = []
        for wanted in reader.fields:
            at = f"{path}.{wanted.name}".lstrip(".")
            source = source_of(wanted, writer)
            step = self._default(wanted, at) if source is None else None
            if source is not None:
                step = self._value(source.type, wanted.type, at)
            fields.append((wanted.name, source, step or _untouched))
        return fields

    def _default(self, wanted: Field, path: str) -> Step | None:
        """A step that repeats the default."""
        if wanted.default is MISSING:
            self.reasons.append(f"{path}: the writer has no such field and it has no default")
            return None
        value = defaults.physical(wanted.default, wanted.type)
        faults = Faults()
        one = self._value(wanted.type, wanted.type, path)(
            pa.array([value], fold(wanted.type, PHYSICAL)), Place(path), faults
        )
        self.reasons.extend(f"the default of {message}" for _, message in faults.found.values())
        # Arrow repeats a list or a map no number of times but none
        return lambda array, _place, _faults: pa.repeat(one[0], len(array)) if array else one[:0]

    def _value(self, writer: Type, reader: Type, path: str) -> Step:
        written, wanted = optional(writer), optional(reader)
        if writer == NULL and wanted is not None:
            return _untouched
        step = self._inner(written or writer, wanted or reader, path)
        return step if written is None or wanted is not None else _required(step)

    def _inner(self, writer: Type, reader: Type, path: str) -> Step:
        match writer, reader:
            case Record(), Record() if same_name(writer, reader):
                return _structs(self._record(writer, reader, path))
            case Array(), Array():
                return _lists(self._value(writer.items, reader.items, path + "[]"))
            case Map(), Map():
                return _maps(self._value(writer.values, reader.values, path + "{}"))
            case Enum(), Enum() if same_name(writer, reader):
                return _symbols(writer, reader)
            case ((Primitive() | Decimal() | Fixed()), (Primitive() | Decimal() | Fixed())):
                return self._leaf(writer, reader, path)
            case _:
                self.reasons.append(f"{path}: the writer's {say(writer)} is no {say(reader)}")
                return _untouched

    def _leaf(self, writer: Leaf, reader: Leaf, path: str) -> Step:
        if not _fits(writer, reader):
            self.reasons.append(f"{path}: the writer's {say(writer)} is no {say(reader)}")
        if physical_kind(writer) == physical_kind(reader):
            return lambda array, place, faults: to_logical(array, reader, place, faults)
        kind = physical_type(reader)
        if kind == pa.string():
            return _texts
        return lambda array, place, faults: to_logical(
            array.cast(kind, safe=False), reader, place, faults
        )


def source_of(wanted: Field, writer: Record) -> Field | None:
    """The writer's field a reader's field is read from, by name or alias."""
    names = (wanted.name, *(alias.rpartition(".")[2] for alias in wanted.aliases))
    by_name = {each.name: each for each in writer.fields}
    return next((by_name[name] for name in names if name in by_name), None)


def used(writer: Type, reader: Type) -> Type:
    """The writer's type without the fields this reader drops."""
    written, wanted = optional(writer) or writer, optional(reader) or reader
    match written, wanted:
        case Record(), Record():
            kept = (
                Field(source.name, used(source.type, each.type))
                for each in wanted.fields
                if (source := source_of(each, written)) is not None
            )
            return Record(written.name, _joined(kept))
        case Array(), Array():
            return Array(used(written.items, wanted.items))
        case Map(), Map():
            return Map(used(written.values, wanted.values))
        case _:
            return written


def _joined(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Each field once: what several readers' fields use of one writer's field is used."""
    by_name: dict[str, Field] = {}
    for each in fields:
        known = by_name.setdefault(each.name, each)
        by_name[each.name] = Field(each.name, _union(known.type, each.type))
    return tuple(by_name.values())


def _union(one: Type, other: Type) -> Type:
    """Both parts of the same writer's type."""
    match one, other:
        case Record(), Record():
            return Record(one.name, _joined((*one.fields, *other.fields)))
        case Array(), Array():
            return Array(_union(one.items, other.items))
        case Map(), Map():
            return Map(_union(one.values, other.values))
        case _:
            return one


def _run(
    fields: list[tuple[str, Field | None, Step]],
    columns: Mapping[str, Any],
    rows: int,
    at: tuple[Place, Faults],
    parent: Any = None,
) -> list[Any]:
    place, faults = at
    return [
        step(
            pa.nulls(rows) if source is None else columns[source.name],
            place.field(name, parent),
            faults,
        )
        for name, source, step in fields
    ]


def _structs(fields: list[tuple[str, Field | None, Step]]) -> Step:
    names = [name for name, _, _ in fields]

    def step(array: Any, place: Place, faults: Faults) -> Any:
        arrays = _run(fields, children(array), len(array), (place, faults), array)
        return struct(arrays, names, array)

    return step


def _lists(item: Step) -> Step:
    def step(array: Any, place: Place, faults: Faults) -> Any:
        lists = tight(array)
        return list_of(item(lists.values, place.items(lists, "[]"), faults), lists)

    return step


def _maps(value: Step) -> Step:
    def step(array: Any, place: Place, faults: Faults) -> Any:
        lists = entries(array)
        held = children(lists.values)
        values = value(held[VALUE], place.items(lists, "{}"), faults)
        pairs = pa.StructArray.from_arrays([held[KEY], values], names=[KEY, VALUE])
        return list_of(pairs, lists)

    return step


def _symbols(writer: Enum, reader: Enum) -> Step:
    known = pa.array(reader.symbols)
    if set(writer.symbols) <= set(reader.symbols):
        return _untouched

    def step(array: Any, place: Place, faults: Faults) -> Any:
        unknown = pc.and_(array.is_valid(), pc.invert(pc.is_in(array, value_set=known)))
        if reader.default is not None:
            return pc.if_else(unknown, reader.default, array)
        faults.add(place, unknown, Code.INCOMPATIBLE_SCHEMA, "is a symbol the contract lacks")
        return null_where(array, unknown)

    return step


def _required(inner: Step) -> Step:
    def step(array: Any, place: Place, faults: Faults) -> Any:
        if (nulls := unexpected_nulls(array, place)) is not None:
            what = "is null, which the contract does not allow"
            faults.add(place, nulls, Code.INCOMPATIBLE_SCHEMA, what)
        return inner(array, place, faults)

    return step


def _texts(array: Any, place: Place, faults: Faults) -> Any:
    """Bytes promoted to a string: only UTF-8 is text."""
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        wrong = pa.array([each is not None and not _is_utf8(each) for each in array.to_pylist()])
        faults.add(place, wrong, Code.BAD_UTF8, "is not UTF-8")
        return null_where(array, wrong).cast(pa.string())


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _untouched(array: Any, _place: Place, _faults: Faults) -> Any:
    return array


def same_name(writer: Record | Enum | Fixed, reader: Record | Enum | Fixed) -> bool:
    """Names match without their namespace; an alias of the reader's in full or without."""
    short = writer.name.rpartition(".")[2]
    known = {reader.name, *reader.aliases}
    return writer.name in known or short in {each.rpartition(".")[2] for each in known}


def _fits(writer: Leaf, reader: Leaf) -> bool:
    kinds = (physical_kind(writer), physical_kind(reader))
    if isinstance(writer, Fixed) and isinstance(reader, Fixed) and not same_name(writer, reader):
        return False
    if isinstance(writer, Decimal) and isinstance(reader, Decimal):
        held = writer.scale == reader.scale and writer.precision <= reader.precision
        return kinds[0] == kinds[1] and held
    meanings = meaning(writer), meaning(reader)
    if None not in meanings and meanings[0] != meanings[1]:
        return False
    if kinds[0] == kinds[1]:
        return True
    is_text = "bytes" in kinds
    return kinds in PROMOTIONS and not (is_text and meanings[1] is not None)


def physical_kind(type_: Leaf) -> str:
    """How a type is written: what two types must share, or promote between."""
    match type_:
        case Primitive(kind):
            return kind
        case Decimal(size=None):
            return "bytes"
        case Decimal(size=size) | Fixed(size=size):
            return f"fixed of {size} bytes"
        case Enum():
            return "enum"


def meaning(type_: Leaf) -> str | None:
    """What a type means beyond how it is written: its logical type; None without one."""
    match type_:
        case Primitive(logical=logical) | Fixed(logical=logical):
            return logical
        case Decimal(precision, scale):
            return f"decimal({precision}, {scale})"
        case Enum():
            return None


def say(type_: Type) -> str:
    """A type in a word or two."""
    match type_:
        case Primitive() | Decimal() | Fixed():
            return meaning(type_) or physical_kind(type_)
        case Record() | Enum():
            return f"{type(type_).__name__.lower()} {type_.name}"
        case _:
            return type(type_).__name__.lower()
