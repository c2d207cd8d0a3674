"""Schemas that others registered, read as contracts: what they say beyond Avro need not be ours.

A `"rule"` of theirs may be a sentence, a `"key"` the name of a team. What is none of our attributes
is left out; nobody here asks anything of those records.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from headwater.contract.attributes import (
    AVRO_FIELD,
    COMPATIBILITY,
    SENSITIVITY,
    field_definitions,
)
from headwater.contract.document import BadDocumentError, read_document
from headwater.contract.parser import MAX_DEPTH, parse
from headwater.contract.schema import Contract, is_instant, parse_contract
from headwater.contract.tree import Record, Type
from headwater.contract.types import composite_part, key_encoding

UNDOCUMENTED: Final = "Not documented by its owner."
REFUSALS: Final = ("rules", "dataset", "maxAhead")  # of a record; a field's is "rule"
AVRO_TYPE: Final = frozenset(
    {
        *("type", "name", "namespace", "aliases", "doc", "fields", "items", "values"),
        *("symbols", "default", "size", "logicalType", "precision", "scale"),
    }
)


def registered_contract(text: str, *, topic: str, version: int, path: Path) -> Contract:
    """The contract that a registered schema is read as: types, key, event time, sensitivity.

    It has no rules. Raises DeclarationError for what is no Avro, or has no column type.
    """
    try:
        schema = read_document(text)
    except BadDocumentError:
        return parse_contract(text, topic=topic, version=version, path=path)  # which says why
    kept = json.dumps(adopted(schema), ensure_ascii=False)
    return parse_contract(kept, topic=topic, version=version, path=path)


def without_rules(schema: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The same schema as JSON without what refuses a row, and the names of what it had of that.

    A rule is a decision of whoever takes the data, and an expression that costs what it likes.
    """
    kept = json.loads(json.dumps(schema))
    had = [name for name in REFUSALS if name in kept]
    for name in had:
        del kept[name]
    for path, each in field_definitions(kept):
        if "rule" in each:
            del each["rule"]
            had.append(f"rule of {path}")
    return kept, had


def adopted(schema: object) -> Any:
    """A schema as JSON, with Avro's attributes and those of ours that hold; each field has a doc.

    Rules are never taken over, even where they could be computed.
    """
    kept = _avro(schema)
    if isinstance(schema, Mapping) and isinstance(kept, dict):
        kept |= dict(_ours(schema))
    return kept


def _avro(schema: object, depth: int = 0) -> Any:
    if depth > 2 * MAX_DEPTH:  # two levels of JSON for one of types, which the parser refuses
        return schema
    if isinstance(schema, list):
        return [_avro(each, depth + 1) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {name: value for name, value in schema.items() if name in AVRO_TYPE}
    for name in ("type", "items", "values"):
        if name in kept:
            kept[name] = _avro(kept[name], depth + 1)
    if isinstance(kept.get("fields"), list):
        kept["fields"] = [_field(each, depth + 1) for each in kept["fields"]]
    if not isinstance(kept.get("doc", ""), str):
        del kept["doc"]
    return kept


def _field(field: object, depth: int) -> Any:
    if not isinstance(field, Mapping):
        return field
    kept = {name: value for name, value in field.items() if name in AVRO_FIELD}
    kept["type"] = _avro(field.get("type"), depth)
    doc = field.get("doc")
    kept["doc"] = doc if isinstance(doc, str) and doc.strip() else UNDOCUMENTED
    if field.get("sensitivity") in SENSITIVITY:
        kept["sensitivity"] = field["sensitivity"]
    if isinstance(field.get("unit"), str):
        kept["unit"] = field["unit"]
    return kept


def _ours(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Those of our attributes that hold for the fields of the record."""
    record = parse(schema).type
    fields = {each.name: each.type for each in record.fields} if isinstance(record, Record) else {}
    key, event_time = schema.get("key"), schema.get("eventTime")
    if _is_key([key] if isinstance(key, str) else key, fields):
        yield "key", key
    if isinstance(event_time, str) and event_time in fields and is_instant(fields[event_time]):
        yield "eventTime", event_time
    if isinstance(schema.get("owner"), str):
        yield "owner", schema["owner"]
    if schema.get("compatibility") in COMPATIBILITY:
        yield "compatibility", schema["compatibility"]


def _is_key(names: object, fields: Mapping[str, Type]) -> bool:
    if not isinstance(names, list) or not all(
        isinstance(each, str) and each in fields for each in names
    ):
        return False
    if len(names) == 1:
        return key_encoding(fields[names[0]]) is not None
    return len(set(names)) == len(names) and all(composite_part(fields[each]) for each in names)
