"""A contract: one version of one product's Avro schema, read from `schemas/` and validated.

Reports every mistake of a file at once, with its line where the file has one.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater.config.durations import parse_duration
from headwater.contract.absent import default_columns, default_mistakes
from headwater.contract.attributes import COMPATIBILITY, FATE, attribute_mistakes, sensitivities
from headwater.contract.dataset import DatasetReader, DatasetRule
from headwater.contract.document import BadDocumentError, field_line, read_document
from headwater.contract.parser import Parsed, parse
from headwater.contract.rule import Rule, RuleReader
from headwater.contract.rule_language import compiled, rule_columns
from headwater.contract.sql_tokens import BadSqlError
from headwater.contract.tree import Primitive, Record, Type, descend, optional
from headwater.contract.types import (
    ROW,
    column_mistakes,
    composite_part,
    key_encoding,
    polars_type,
)
from headwater.errors import DeclarationError, Problem

RESERVED: Final = frozenset(
    {
        *(ROW, "_topic", "_partition", "_offset", "_timestamp"),
        *("_date", "_key", "_age", "_deleted"),
    }
)


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one product's contract, validated.

    `text` is the JSON to register, custom attributes included; `columns` are the Polars types of
    the fields, in order; `record` is the same schema as a tree; `key` is empty where there is none;
    `defaults` holds the default of each field that has one, as a series of one value.
    `deprecated` says what to use instead, `sunset` from which day on nobody should read it; both
    tell what becomes of a contract, not what it promises, and are no part of `text`.
    `rules` are what it asks of each row; `sensitivity` is "personal", "secret", "internal" or
    "public" by the path of a field, for the fields that say so. `max_ahead` is how far the event
    time may lie after the publish time; None for any distance. `dataset` is what it asks of all
    rows together.
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
    defaults: Mapping[str, pl.Series] = field(repr=False, compare=False)
    deprecated: str | None = None
    sunset: date | None = None
    rules: tuple[Rule, ...] = ()
    sensitivity: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_ahead: timedelta | None = None
    dataset: tuple[DatasetRule, ...] = ()


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
    except FileNotFoundError as error:
        message = f"the contract {topic} v{version} is not there; write it, or correct the version"
        raise DeclarationError([Problem("NO_CONTRACT", message, str(path))]) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = (
            f"the contract {topic} v{version} cannot be read ({reason});"
            " save it as a file of UTF-8 text"
        )
        raise DeclarationError([Problem("UNREADABLE_FILE", message, str(path))]) from error
    return parse_contract(text, topic=topic, version=version, path=path)


def parse_contract(text: str, *, topic: str, version: int, path: Path) -> Contract:
    """The contract in `text`, which stands at `path`. Raises DeclarationError."""
    try:
        schema = read_document(text)
    except BadDocumentError as error:
        message = f"the contract is not JSON: {error}"
        raise DeclarationError([Problem("BAD_JSON", message, str(path), error.line)]) from error
    found = parse(schema)
    check = _Check(text, path, schema, found)
    problems = check.problems()
    if problems or not isinstance(found.type, Record):
        raise DeclarationError(problems)
    return Contract(
        topic=topic,
        version=version,
        schema=schema,
        text=registered_text(schema),
        key=check.key,
        event_time=schema.get("eventTime"),
        owner=schema.get("owner"),
        compatibility=schema.get("compatibility", COMPATIBILITY[0]),
        columns={each.name: polars_type(each.type) for each in found.type.fields},
        path=path,
        record=found.type,
        defaults=default_columns(found.type),
        deprecated=schema.get("deprecated"),
        sunset=date.fromisoformat(schema["sunset"]) if "sunset" in schema else None,
        rules=check.rules,
        sensitivity=sensitivities(found.type),
        max_ahead=parse_duration(schema["maxAhead"]) if "maxAhead" in schema else None,
        dataset=check.dataset,
    )


def registered_text(schema: Mapping[str, Any]) -> str:
    """The JSON of a contract that is registered, and frozen with it."""
    promised = {name: value for name, value in schema.items() if name not in FATE}
    return json.dumps(promised, ensure_ascii=False, separators=(",", ":"))


class _Check:
    """Finds every mistake of one schema."""

    def __init__(self, text: str, path: Path, schema: Any, found: Parsed) -> None:
        self.text = text
        self.path = path
        self.schema = schema if isinstance(schema, dict) else {}
        self.found = found
        self.rules: tuple[Rule, ...] = ()
        self.dataset: tuple[DatasetRule, ...] = ()
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
        if not self.found.mistakes and self.schema.get("type") != "record":
            message = 'a contract is a record itself: its "type" is "record", not a type inside it'
            return [self.problem("BAD_SCHEMA", message)]
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
        yield from self.of_names(record)
        yield from self.of_numbers(record)
        yield from self.of_key(fields)
        yield from self.of_event_time(fields)
        yield from self.of_rules(record)

    def of_names(self, record: Record) -> Iterator[Problem]:
        for each in record.fields:
            if is_reserved(each.name):
                message = f"the name {each.name} is Headwater's own column; choose another"
                yield self.problem("RESERVED_NAME", message, each.name)
        for path, inside in descend(record):
            names = [each.name for each in inside.fields] if isinstance(inside, Record) else []
            folded = Counter(name.lower() for name in names)
            for name in names:
                if folded[name.lower()] > 1:
                    at = f"{path}.{name}".lstrip(".")
                    message = f"the name {at} differs from another only in case; tables ignore case"
                    yield self.problem("RESERVED_NAME", message, at)

    def of_numbers(self, record: Record) -> Iterator[Problem]:
        for path, inside in descend(record):
            for each in inside.fields if isinstance(inside, Record) else ():
                if "nonFinite" in each.attributes and not has_doubles(each.type):
                    at = f"{path}.{each.name}".lstrip(".")
                    message = f'"nonFinite" of {at} says nothing: it holds no float or double'
                    yield self.problem("BAD_ATTRIBUTE", message, at)

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
        for each in attribute_mistakes(self.schema):
            yield self.problem(each.code, each.message, each.path)

    def of_rules(self, record: Record) -> Iterator[Problem]:
        reader = RuleReader(self.schema, record)
        self.rules = reader.rules
        for each in reader.mistakes:
            yield self.problem(each.code, each.message, each.path)
        if not any(column_mistakes(record)):
            columns = {each.name: polars_type(each.type) for each in record.fields}
            seen = rule_columns(columns, has_age=isinstance(self.schema.get("eventTime"), str))
            for rule in self.rules:
                yield from self.of_expression(rule, seen)
            yield from self.of_dataset(columns)

    def of_dataset(self, columns: Mapping[str, pl.DataType]) -> Iterator[Problem]:
        reader = DatasetReader(self.schema, columns, [each.name for each in self.rules])
        self.dataset = reader.rules
        for each in reader.mistakes:
            yield self.problem(each.code, each.message, each.path)

    def of_expression(self, rule: Rule, columns: Mapping[str, pl.DataType]) -> Iterator[Problem]:
        try:
            compiled(rule.expression, columns)
        except BadSqlError as error:
            yield self.problem("BAD_RULE", f"the {rule}: {error}", rule.field or rule.name)

    def problem(self, code: str, message: str, at: str = "") -> Problem:
        return Problem(code, message, str(self.path), field_line(self.text, at))


def is_reserved(name: str) -> bool:
    """Whether a name is one of Headwater's own columns; tables ignore case."""
    return name.lower() in RESERVED


def is_instant(type_: Type) -> bool:
    """Whether a type, null aside, says when something happened: a timestamp or a date."""
    match optional(type_) or type_:
        case Primitive(logical=str() as logical):
            return "timestamp" in logical or logical == "date"
        case _:
            return False


def has_doubles(type_: Type) -> bool:
    """Whether a type is, or holds at any depth, a float or a double."""
    return any(
        isinstance(each, Primitive) and each.kind in {"float", "double"}
        for _, each in descend(type_)
    )
