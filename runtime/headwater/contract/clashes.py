"""What a reader's schema cannot take of a writer's, each with its path.

Two judges must say yes before a pair is compatible: our own resolution, which knows logical types,
and `avro`'s checker, which knows the specification. The walk over both trees puts their no into
words; it is stricter where a pair resolves but single values do not (null, unknown symbols, bytes
that are no text, a plain number read as an instant).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from headwater.contract.resolve import (
    Resolution,
    meaning,
    physical_kind,
    same_name,
    say,
    source_of,
)
from headwater.contract.schema import Contract
from headwater.contract.tree import (
    MISSING,
    NULL,
    Array,
    Decimal,
    Enum,
    Field,
    Fixed,
    Map,
    Primitive,
    Record,
    Type,
    optional,
)


class Law(StrEnum):
    """What Avro's schema resolution, or our codec, asks for and a pair of schemas breaks."""

    FIELD = "FIELD"
    """A field the writer lacks has a default."""
    NULL = "NULL"
    """Null is read only where null is allowed."""
    SYMBOLS = "SYMBOLS"
    """A symbol is known to the reader, or its enum has a default."""
    NAME = "NAME"
    """Named types have one name, or the reader an alias."""
    DECIMAL = "DECIMAL"
    """A decimal has the same scale, and no fewer digits."""
    TYPE = "TYPE"
    """A type is the same, or a promotion of it, that holds every value."""
    RESOLUTION = "RESOLUTION"
    """Whatever else avro's checker or our codec asks for."""


@dataclass(frozen=True, slots=True)
class Clash:
    """One place where a reader cannot take all that a writer may write.

    `path` is of the reader's fields; `written` and `read` say what stands on either side.
    """

    path: str
    rule: Law
    written: str
    read: str


def clashes(writer: Contract, reader: Contract) -> list[Clash]:
    """Why records of `writer` cannot be read as `reader`, outermost first; empty when they can."""
    found = list(_type(writer.record, reader.record, ""))
    if found:
        return found
    reasons = [*Resolution(writer.record, reader.record).reasons, *_judged(writer, reader)]
    return [Clash("", Law.RESOLUTION, reason, "") for reason in reasons]


def _type(writer: Type, reader: Type, path: str) -> Iterator[Clash]:
    written, wanted = optional(writer), optional(reader)
    if writer == NULL and wanted is not None:
        return
    if written is not None and wanted is None:
        yield Clash(path, Law.NULL, f"{say(written)} or null", say(reader))
    yield from _inner(written or writer, wanted or reader, path)


def _inner(writer: Type, reader: Type, path: str) -> Iterator[Clash]:
    match writer, reader:
        case Array(), Array():
            yield from _type(writer.items, reader.items, path + "[]")
        case Map(), Map():
            yield from _type(writer.values, reader.values, path + "{}")
        case ((Record() | Enum() | Fixed()), (Record() | Enum() | Fixed())) if type(writer) is type(
            reader
        ) and not same_name(writer, reader):
            yield Clash(path, Law.NAME, writer.name, reader.name)
        case Record(), Record():
            yield from _fields(writer, reader, path)
        case Enum(), Enum():
            unknown = [each for each in writer.symbols if each not in reader.symbols]
            if unknown and reader.default is None:
                yield Clash(path, Law.SYMBOLS, ", ".join(unknown), ", ".join(reader.symbols))
        case ((Primitive() | Decimal() | Fixed()), (Primitive() | Decimal() | Fixed())):
            yield from _leaf(writer, reader, path)
        case _:
            yield Clash(path, Law.TYPE, say(writer), say(reader))


def _fields(writer: Record, reader: Record, path: str) -> Iterator[Clash]:
    for wanted in reader.fields:
        at = f"{path}.{wanted.name}".lstrip(".")
        source = source_of(wanted, writer)
        if source is not None:
            yield from _type(source.type, wanted.type, at)
        elif wanted.default is MISSING:
            yield Clash(at, Law.FIELD, "", say(wanted.type))


def _leaf(
    writer: Primitive | Decimal | Fixed, reader: Primitive | Decimal | Fixed, path: str
) -> Iterator[Clash]:
    resolves = not Resolution(_alone(writer), _alone(reader)).reasons
    kinds = physical_kind(writer), physical_kind(reader)
    # Not all bytes are a text, and not every plain number is an instant or a decimal.
    gains_meaning = meaning(writer) is None and meaning(reader) is not None
    if resolves and kinds != ("bytes", "string") and not gains_meaning:
        return
    are_decimals = isinstance(writer, Decimal) and isinstance(reader, Decimal)
    rule = Law.DECIMAL if are_decimals and kinds[0] == kinds[1] else Law.TYPE
    yield Clash(path, rule, say(writer), say(reader))


def _alone(type_: Type) -> Record:
    return Record("Alone", (Field("value", type_),))


def _judged(writer: Contract, reader: Contract) -> list[str]:
    """What avro's checker has against the pair; empty when it says yes."""
    from avro import compatibility, schema  # noqa: PLC0415 - most commands compare no contracts

    result = compatibility.ReaderWriterCompatibilityChecker().get_compatibility(  # type: ignore[no-untyped-call]  # its constructor has no annotations
        schema.make_avsc_object(_plain(reader.schema, "")),
        schema.make_avsc_object(_plain(writer.schema, "")),
    )
    if result.compatibility is compatibility.SchemaCompatibilityType.compatible:
        return []
    return [f"avro's checker: {text}" for text in sorted(result.messages)]


def _plain(schema: Any, space: str) -> Any:
    """A schema as avro's checker reads it best.

    Without logical types, of which it knows fewer than the specification and judges none; and with
    the aliases of types in full, as it compares them with the full name.
    """
    if isinstance(schema, list):
        return [_plain(each, space) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if not isinstance(schema.get("type"), str):
        return _plain(schema.get("type"), space)  # {"type": {"type": ...}} it does not know
    plain = {name: value for name, value in schema.items() if name != "logicalType"}
    if schema.get("type") in {"record", "enum", "fixed"}:
        space = _name(plain, space)
    for inside in ("type", "items", "values"):
        if inside in schema:
            plain[inside] = _plain(schema[inside], space)
    if "fields" in schema:
        plain["fields"] = [_field(each, space) for each in schema["fields"]]
    return plain


def _name(plain: dict[str, Any], space: str) -> str:
    """Write name and aliases of a type in full; gives the namespace they open."""
    own, _, _ = plain["name"].rpartition(".")
    space = own or plain.get("namespace", space)
    plain["aliases"] = [
        alias if "." in alias or not space else f"{space}.{alias}"
        for alias in plain.get("aliases", ())
    ]
    return space


def _field(field: Mapping[str, Any], space: str) -> dict[str, Any]:
    aliases = [alias.rpartition(".")[2] for alias in field.get("aliases", ())]
    return {**field, "type": _plain(field["type"], space), "aliases": aliases}
