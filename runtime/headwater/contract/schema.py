"""A contract: one version of one product's Avro schema, read from `schemas/` and validated.

Reports every mistake of a file at once, with its line where the file has one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater.contract.defaults import default_mistakes
from headwater.contract.parser import Parsed, parse
from headwater.contract.tree import Primitive, Record, Type, optional
from headwater.contract.types import (
    ROW,
    column_mistakes,
    composite_part,
    key_encoding,
    polars_type,
)
from headwater.errors import DeclarationError, Problem

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
RECORD_TEXTS: Final = ("doc", "owner", "eventTime")
FIELD_TEXTS: Final = ("unit", "rule")
RESERVED: Final = frozenset({ROW, "_topic", "_partition", "_offset", "_timestamp", "_key"})


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one product's contract, validated.

    `text` is the JSON to register, custom attributes included; `columns` are the Polars types of
    the fields, in order; `record` is the same schema as a tree; `key` is empty where there is none.
    """

    topic: str
    version: int
    schema: Mapping[str, Any]
    text: str
    key: tuple[str, ...]
    event_time: str | None
    owner: str | None
    compatibility: str
    columns: dict[str, pl.DataType]
    path: Path
    record: Record = field(repr=False)


def contract_path(root: Path, topic: str, version: int) -> Path:
    """Where the contract of a topic stands: `<root>/<domain>/<product>/v<N>.avsc`."""
    return root.joinpath(*topic.replace("-", "_").split("."), f"v{version}.avsc")


def load_contract(root: Path, topic: str, version: int) -> Contract:
    """Read and validate a contract. `root` is the folder `schemas`.

    Raises DeclarationError with every mistake of the file.
    """
    path = contract_path(root, topic, version)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not there" if isinstance(error, FileNotFoundError) else "cannot be read"
        message = f"the contract {topic} v{version} {reason}; write it, or correct the version"
        raise DeclarationError([Problem("NO_CONTRACT", message, str(path))]) from error
    return parse_contract(text, topic=topic, version=version, path=path)


def parse_contract(text: str, *, topic: str, version: int, path: Path) -> Contract:
    """The contract in `text`, which stands at `path`. Raises DeclarationError."""
    try:
        schema = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        message = f"the contract is not JSON: {getattr(error, 'msg', 'it nests too deep')}"
        raise DeclarationError([Problem("BAD_JSON", message, str(path), line)]) from error
    found = parse(schema)
    check = _Check(text, path, schema, found)
    problems = check.problems()
    if problems or not isinstance(found.type, Record):
        raise DeclarationError(problems)
    return Contract(
        topic=topic,
        version=version,
        schema=schema,
        text=json.dumps(schema, ensure_ascii=False, separators=(",", ":")),
        key=check.key,
        event_time=schema.get("eventTime"),
        owner=schema.get("owner"),
        compatibility=schema.get("compatibility", COMPATIBILITY[0]),
        columns={each.name: polars_type(each.type) for each in found.type.fields},
        path=path,
        record=found.type,
    )


class _Check:
    """Finds every mistake of one schema."""

    def __init__(self, text: str, path: Path, schema: Any, found: Parsed) -> None:
        self.text = text
        self.path = path
        self.schema = schema if isinstance(schema, dict) else {}
        self.found = found
        key = self.schema.get("key", [])
        self.key_is_valid = isinstance(key, str) or (
            isinstance(key, list) and all(isinstance(each, str) for each in key)
        )
        self.key: tuple[str, ...] = (
            ((key,) if isinstance(key, str) else tuple(key)) if self.key_is_valid else ()
        )

    def problems(self) -> list[Problem]:
        if not isinstance(self.found.type, Record) and not self.found.mistakes:
            return [self.problem("BAD_SCHEMA", "a contract is a record")]
        found = [self.problem(each.code, str(each), each.path) for each in self.found.mistakes]
        found += [
            self.problem("UNSUPPORTED_TYPE", str(each), each.path) for each in self.found.ignored
        ]
        found += self.of_attributes()
        if isinstance(self.found.type, Record) and not self.found.mistakes:
            found += self.of_record(self.found.type)
        return sorted(found, key=lambda each: each.line or 0)

    def of_record(self, record: Record) -> Iterator[Problem]:
        fields = {each.name: each.type for each in record.fields}
        for each in (*column_mistakes(record), *default_mistakes(record)):
            yield self.problem(each.code, str(each), each.path)
        yield from self.of_names(list(fields))
        yield from self.of_key(fields)
        yield from self.of_event_time(fields)

    def of_names(self, names: list[str]) -> Iterator[Problem]:
        for name in names:
            if name in RESERVED:
                message = f"the name {name} is Headwater's own column; choose another"
                yield self.problem("RESERVED_NAME", message, name)
        folded = [name.lower() for name in names]
        for name in names:
            if folded.count(name.lower()) > 1:
                message = f"the name {name} differs from another only in case; tables ignore case"
                yield self.problem("RESERVED_NAME", message, name)

    def of_key(self, fields: Mapping[str, Type]) -> Iterator[Problem]:
        if not self.key_is_valid or len(set(self.key)) < len(self.key):
            yield self.problem("BAD_KEY", '"key" is a field, or a list of different fields')
            return
        for name in self.key:
            if name not in fields:
                message = f'"key" names {name}, which is not a field'
                yield self.problem("BAD_KEY", message, '"key"')
            elif not self.is_key(fields[name]):
                message = (
                    f"{name} cannot be {'part of ' * (len(self.key) > 1)}a key: see docs/types.md"
                )
                yield self.problem("BAD_KEY", message, name)

    def is_key(self, type_: Type) -> bool:
        if len(self.key) > 1:
            return composite_part(type_)
        return key_encoding(type_) is not None

    def of_event_time(self, fields: Mapping[str, Type]) -> Iterator[Problem]:
        name = self.schema.get("eventTime")
        if not isinstance(name, str):
            return
        if name not in fields:
            message = f'"eventTime" names {name}, which is not a field'
            yield self.problem("BAD_EVENT_TIME", message, '"eventTime"')
        elif not is_instant(fields[name]):
            message = f"{name} cannot be the event time: it is not a timestamp or a date"
            yield self.problem("BAD_EVENT_TIME", message, name)

    def of_attributes(self) -> Iterator[Problem]:
        for name in RECORD_TEXTS:
            if not isinstance(self.schema.get(name, ""), str):
                yield self.problem("BAD_ATTRIBUTE", f'"{name}" is a text')
        given = self.schema.get("compatibility", COMPATIBILITY[0])
        if given not in COMPATIBILITY:
            message = f'"compatibility" is one of {", ".join(COMPATIBILITY)}'
            yield self.problem("BAD_ATTRIBUTE", message, '"compatibility"')
        for path, each in _fields(self.schema, ""):
            yield from self.of_field(path, each)

    def of_field(self, path: str, attributes: Mapping[str, Any]) -> Iterator[Problem]:
        doc = attributes.get("doc")
        if not isinstance(doc, str) or not doc.strip():
            yield self.problem("NO_DOC", f'{path} needs a "doc": what it means', path)
        for name in FIELD_TEXTS:
            if not isinstance(attributes.get(name, ""), str):
                yield self.problem("BAD_ATTRIBUTE", f'"{name}" of {path} is a text', path)
        if attributes.get("sensitivity", SENSITIVITY[0]) not in SENSITIVITY:
            message = f'"sensitivity" of {path} is one of {", ".join(SENSITIVITY)}'
            yield self.problem("BAD_ATTRIBUTE", message, path)

    def problem(self, code: str, message: str, at: str = "") -> Problem:
        return Problem(code, message, str(self.path), self.line(at))

    def line(self, at: str) -> int | None:
        """The line of a quoted word, or of the field at a path; the first field of that name."""
        name = at.replace("[]", "").replace("{}", "").rpartition(".")[2]
        pattern = re.escape(at) if at.startswith('"') else rf'"name"\s*:\s*"{re.escape(name)}"'
        found = re.search(pattern, self.text) if name else None
        return self.text.count("\n", 0, found.start()) + 1 if found else None


def is_instant(type_: Type) -> bool:
    """Whether a type, null aside, says when something happened: a timestamp or a date."""
    match optional(type_) or type_:
        case Primitive(logical=str() as logical):
            return "timestamp" in logical or logical == "date"
        case _:
            return False


def _fields(schema: object, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every field definition inside a schema, with its path."""
    if isinstance(schema, list):
        for each in schema:
            yield from _fields(each, path)
    elif isinstance(schema, Mapping):
        listed = schema.get("fields", [])
        for each in listed if isinstance(listed, list) else []:
            if isinstance(each, Mapping) and isinstance(each.get("name"), str):
                inside = f"{path}.{each['name']}".lstrip(".")
                yield inside, each
                yield from _fields(each.get("type"), inside)
        for key, step in (("type", ""), ("items", "[]"), ("values", "{}")):
            if isinstance(schema.get(key), Mapping | list):
                yield from _fields(schema[key], path + step)
