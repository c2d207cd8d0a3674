"""The attributes a contract adds to Avro's: which there are, and what is wrong with those given.

Looks at the JSON alone, so that attributes of a schema that is no valid Avro are told as well.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

from headwater.config.durations import parse_duration
from headwater.contract.parser import MAX_DEPTH
from headwater.contract.tree import Mistake, Record, descend

COMPATIBILITY: Final = (
    "FULL_TRANSITIVE",
    "FULL",
    "BACKWARD_TRANSITIVE",
    "BACKWARD",
    "FORWARD_TRANSITIVE",
    "FORWARD",
    "NONE",
)
SENSITIVITY: Final = ("public", "internal", "personal", "secret")
MASKED: Final = frozenset({"personal", "secret"})  # nobody sees these in what a command prints
FATE: Final = ("deprecated", "sunset")  # may be set on a published version: not registered
RECORD_TEXTS: Final = ("doc", "owner", "eventTime", *FATE)
FIELD_TEXTS: Final = ("unit",)
AVRO_FIELD: Final = ("type", "name", "doc", "default", "aliases", "order")
RECORD_ATTRIBUTES: Final = (
    *("type", "name", "namespace", "aliases", "fields"),
    *(*RECORD_TEXTS, "key", "compatibility", "rules", "maxAhead", "dataset"),
)
FIELD_ATTRIBUTES: Final = (*AVRO_FIELD, *FIELD_TEXTS, "sensitivity", "rule", "nonFinite")
NEARLY: Final = 0.8  # of difflib's 0 to 1: "sensitivitee" is 0.87 like, "role" and "rule" 0.75


def attribute_mistakes(schema: Mapping[str, Any]) -> Iterator[Mistake]:
    """Everything wrong with the attributes of a record and of all fields inside it.

    The path of a mistake is that of a field, or the attribute in double quotes. Rules are looked
    at elsewhere: whether they hold depends on the types of the fields.
    """
    for name in RECORD_TEXTS:
        if not isinstance(schema.get(name, ""), str):
            yield _bad(f'"{name}"', f'"{name}" is a text')
    if schema.get("compatibility", COMPATIBILITY[0]) not in COMPATIBILITY:
        yield _bad('"compatibility"', f'"compatibility" is one of {", ".join(COMPATIBILITY)}')
    yield from _of_fate(schema)
    yield from _of_max_ahead(schema)
    yield from _of_spelling(schema, RECORD_ATTRIBUTES, "")
    for path, each in field_definitions(schema):
        yield from _of_field(path, each)
        yield from _of_spelling(each, FIELD_ATTRIBUTES, path)


def sensitivities(record: Record) -> dict[str, str]:
    """How sensitive a field is, by its path, for every field that says so."""
    return {
        f"{path}.{each.name}".lstrip("."): each.attributes["sensitivity"]
        for path, inside in descend(record)
        for each in (inside.fields if isinstance(inside, Record) else ())
        if "sensitivity" in each.attributes
    }


def _bad(path: str, message: str) -> Mistake:
    return Mistake(path, message, "BAD_ATTRIBUTE")


def _of_fate(schema: Mapping[str, Any]) -> Iterator[Mistake]:
    """A day of sunset needs a word on what to use instead."""
    sunset, deprecated = schema.get("sunset"), schema.get("deprecated")
    if isinstance(deprecated, str) and not deprecated.strip():
        yield _bad('"deprecated"', '"deprecated" is empty; say what to use instead')
    if not isinstance(sunset, str):
        return
    if deprecated is None:
        message = '"sunset" needs "deprecated", a text that says what to use instead'
        yield _bad('"sunset"', message)
    if not _is_day(sunset):
        yield _bad('"sunset"', '"sunset" is a day such as "2027-06-30"')


def _of_max_ahead(schema: Mapping[str, Any]) -> Iterator[Mistake]:
    if "maxAhead" not in schema:
        return
    if not isinstance(schema.get("eventTime"), str):
        yield _bad('"maxAhead"', '"maxAhead" needs "eventTime", the field it limits')
    try:
        parse_duration(schema["maxAhead"])
    except ValueError as error:
        yield _bad('"maxAhead"', f'"maxAhead": {error}')


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _of_spelling(given: Mapping[str, Any], known: Sequence[str], path: str) -> Iterator[Mistake]:
    """Any attribute may be added; one that is nearly ours would silently do nothing."""
    for name in given.keys() - set(known):
        near = difflib.get_close_matches(_folded(name), map(_folded, known), 1, NEARLY)
        if near:
            meant = next(each for each in known if _folded(each) == near[0])
            place = f" of {path}" if path else ""
            message = f'"{name}"{place} is not known; did you mean "{meant}"?'
            yield Mistake(f'"{name}"', message, "UNKNOWN_ATTRIBUTE")


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _of_field(path: str, attributes: Mapping[str, Any]) -> Iterator[Mistake]:
    doc = attributes.get("doc")
    if not isinstance(doc, str) or not doc.strip():
        yield Mistake(path, f'{path} needs a "doc": what it means', "NO_DOC")
    for name in FIELD_TEXTS:
        if not isinstance(attributes.get(name, ""), str):
            yield _bad(path, f'"{name}" of {path} is a text')
    if attributes.get("sensitivity", SENSITIVITY[0]) not in SENSITIVITY:
        yield _bad(path, f'"sensitivity" of {path} is one of {", ".join(SENSITIVITY)}')
    if not isinstance(attributes.get("nonFinite", False), bool):
        yield _bad(path, f'"nonFinite" of {path} is true or false')


def field_definitions(
    schema: object, path: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field definition inside a schema, with its path, as deep as the parser looks.

    The JSON itself, which may be edited. Whatever is no field is passed over.
    """
    for each in _listed(schema):
        yield f"{path}.{each['name']}".lstrip("."), each
    if depth < MAX_DEPTH:
        for step, inside in _types_in(schema):
            yield from field_definitions(inside, path + step, depth + 1)


def _listed(schema: object) -> list[dict[str, Any]]:
    """The fields of a record, as far as they are fields."""
    listed = schema.get("fields") if isinstance(schema, Mapping) else None
    return [
        each
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict) and isinstance(each.get("name"), str)
    ]


def _types_in(schema: object) -> Iterator[tuple[str, object]]:
    """The types directly inside a schema, each with its step of a path."""
    if isinstance(schema, list):
        yield from (("", each) for each in schema)
    elif isinstance(schema, Mapping):
        yield from ((f".{each['name']}", each.get("type")) for each in _listed(schema))
        for key, step in (("type", ""), ("items", "[]"), ("values", "{}")):
            yield step, schema.get(key)
