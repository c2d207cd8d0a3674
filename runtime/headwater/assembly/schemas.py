"""Contracts and registered schemas side by side: shown, compared, pinned.

A schema of the registry that no contract says is read as one all the same: what ours ask for beyond
Avro is filled in, and said.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headwater.assembly.gate import fate_line, today
from headwater.assembly.root import SCHEMAS
from headwater.assembly.upstream import events_of
from headwater.contract import (
    UNDOCUMENTED,
    Contract,
    adopted,
    contract_path,
    fields_of,
    incompatibilities,
    load_contract,
    parse_contract,
    registered_contract,
)
from headwater.contract.attributes import field_definitions
from headwater.contract.document import BadDocumentError, read_document
from headwater.contract.registered import without_rules
from headwater.errors import DeclarationError, Problem
from headwater.ports import RegisteredSchema, Registry
from headwater.product.names import topic_name_mistake

FILE: Final = re.compile(r"v([1-9][0-9]*)\.avsc")


@dataclass(frozen=True, slots=True)
class Standing:
    """One version as it stands in a file, in the registry, or in both.

    `version` is the contract's for a file, else the registry's. `is_equal` is None where one of the
    two is missing.
    """

    version: int
    file: str | None
    schema_id: int | None
    registered_as: int | None
    is_equal: bool | None
    deprecated: str | None
    fate: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What is between two versions; `backward` and `forward` are what breaks, empty when nothing.

    Paths lead through names, `[]` for items, `{}` for values; `changed` maps to both types.
    """

    added: Sequence[str]
    removed: Sequence[str]
    changed: Mapping[str, tuple[str, str]]
    backward: Sequence[str]
    forward: Sequence[str]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A schema of the registry as a file; `to_document` are fields whose meaning is not said.

    `inherited` are the attributes taken from the version beside it, `lost` those of it that name
    nothing this schema could have there. `rules_left_out` are the upstream's rules, which never
    come along. `is_stripped` when further attributes of its own were left out, because ours of that
    name mean something else.
    """

    path: Path
    contract: Contract
    subject: str
    schema_id: int
    is_new: bool
    inherited: Mapping[str, Any]
    lost: Mapping[str, Any]
    rules_left_out: Sequence[str]
    is_stripped: bool
    to_document: Sequence[str]


@dataclass(frozen=True, slots=True)
class PinOptions:
    """What the registry does not know of an upstream: its key, and the field of its event time."""

    key: Sequence[str] = ()
    event_time: str | None = None


def file_versions(root: Path, topic: str) -> list[int]:
    """The versions that stand in files, oldest first. Raises DeclarationError (INVALID_NAME)."""
    if mistake := topic_name_mistake(topic):
        raise DeclarationError([Problem("INVALID_NAME", mistake)])
    folder = contract_path(root / SCHEMAS, topic, 1).parent
    found = (FILE.fullmatch(path.name) for path in folder.glob("v*.avsc"))
    return sorted(int(match[1]) for match in found if match)


def from_file(root: Path, topic: str, version: int | None) -> Contract:
    """A version from its file, by default the newest. Raises DeclarationError."""
    if version is None:
        versions = file_versions(root, topic)
        if not versions:
            text = f"{topic} has no contract below {SCHEMAS}; write or pin one"
            raise DeclarationError([Problem("NO_CONTRACT", text)])
        version = versions[-1]
    return load_contract(root / SCHEMAS, topic, version)


def from_registry(
    registry: Registry, topic: str, subject: str, version: int | None
) -> tuple[RegisteredSchema, Contract]:
    """A version from the registry, by default the newest, read as a contract of the topic.

    Raises DeclarationError (NO_SUBJECT, NO_VERSION, or the mistakes of the schema), and
    UnavailableError.
    """
    found = registered(registry, subject, version)
    number = found.version or 1
    _document(found)
    path = Path(_named(found))
    contract = registered_contract(found.schema, topic=topic, version=number, path=path)
    return found, contract


def neighbours(
    name: str, known: Sequence[int], older: int | None, newer: int | None
) -> tuple[int, int]:
    """The two of the known versions (ascending) to compare: by default the last two.

    Raises DeclarationError (NO_VERSION) when there is nothing to compare with.
    """
    if newer is None:
        newer = known[-1] if known else 0
    if older is None:
        older = max((each for each in known if each < newer), default=0)
    if not older or not newer:
        held = ", ".join(f"v{each}" for each in known) or "none"
        text = f"{name} has no two versions to compare; there is {held}"
        raise DeclarationError([Problem("NO_VERSION", text)])
    return older, newer


def standings(root: Path, topic: str, subject: str, registry: Registry) -> list[Standing]:
    """The versions in files, each beside its registered copy, then what only the registry has.

    Raises DeclarationError (NO_CONTRACT when there is neither) and UnavailableError.
    """
    contracts = [from_file(root, topic, version) for version in file_versions(root, topic)]
    registered = list(registry.versions(subject))
    if not contracts and not registered:
        events = events_of(root, topic)
        way = f"it is read as {', '.join(events)}" if events else "write or pin one"
        text = (
            f"{topic} has no contract below {SCHEMAS}, nor the registry a subject {subject}; {way}"
        )
        raise DeclarationError([Problem("NO_CONTRACT", text)])
    found = []
    for contract in contracts:
        same = next((r for r in registered if _says_the_same(r, contract)), None)
        numbered = next((r for r in registered if r.version == contract.version), None)
        match = same or numbered
        found.append(_standing(contract, match, is_equal=same is not None))
        registered = [each for each in registered if each is not match]
    found += [_only_registered(each) for each in registered]
    return sorted(found, key=lambda each: (each.version, each.file is None))


def difference(older: Contract, newer: Contract) -> Difference:
    """What changed from one version to another, and which readers it breaks."""
    before, after = fields_of(older.record), fields_of(newer.record)
    changed = {
        path: (before[path], after[path])
        for path in before
        if path in after and before[path] != after[path]
    }
    return Difference(
        added=[path for path in after if path not in before],
        removed=[path for path in before if path not in after],
        changed=changed,
        backward=[str(each) for each in incompatibilities(newer, older, "BACKWARD")],
        forward=[str(each) for each in incompatibilities(newer, older, "FORWARD")],
    )


def pin(root: Path, topic: str, found: RegisteredSchema, mode: str, options: PinOptions) -> Pinned:
    """Write a registered schema as the contract to read a topic with: `v<N>`, N the registry's.

    Everything it says is kept but its rules, and of what is ours by name only what holds. A `doc`
    that is missing gets a sentence to be replaced. Key and event time are those of the options, of
    the schema itself, or of the version before: they never change. A file that is there already is
    never written over: its docs are the project's own work.
    Raises DeclarationError: for what our contracts cannot hold, and (PINNED_OTHERWISE) for a file
    of another schema, key or event time.
    """
    if mistake := topic_name_mistake(topic):
        raise DeclarationError([Problem("INVALID_NAME", mistake)])
    version = found.version or 1
    path = contract_path(root / SCHEMAS, topic, version)
    document, rules = without_rules(_document(found))
    inherited, lost = _inherited(root, topic, version, document, options)
    is_stripped = False
    try:
        text, wanted = _read(document | inherited, topic, found, mode, options)
    except DeclarationError:
        text, wanted = _read(adopted(document | inherited), topic, found, mode, options)
        is_stripped = True
    is_new = not path.exists()
    if is_new:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    contract = load_contract(root / SCHEMAS, topic, version)
    if otherwise := _otherwise(contract, wanted, options):
        raise DeclarationError([Problem("PINNED_OTHERWISE", otherwise, str(path))])
    return Pinned(
        path=path,
        contract=contract,
        subject=str(found.subject),
        schema_id=found.schema_id,
        is_new=is_new,
        inherited=inherited if is_new else {},
        lost=lost if is_new else {},
        rules_left_out=rules,
        is_stripped=is_stripped,
        to_document=[
            name
            for name, each in field_definitions(contract.schema)
            if each.get("doc") == UNDOCUMENTED
        ],
    )


def registered(registry: Registry, subject: str, version: int | None) -> RegisteredSchema:
    """A version of a subject, by default the newest.

    Raises DeclarationError (NO_SUBJECT, NO_VERSION) and UnavailableError.
    """
    versions = registry.versions(subject)
    if not versions:
        text = f"the registry has no subject {subject}; name it with --subject"
        raise DeclarationError([Problem("NO_SUBJECT", text)])
    if version is None:
        return versions[-1]
    for each in versions:
        if each.version == version:
            return each
    known = ", ".join(str(each.version) for each in versions)
    text = f"{subject} has no version {version}; there are {known}"
    raise DeclarationError([Problem("NO_VERSION", text)])


def _document(found: RegisteredSchema) -> dict[str, Any]:
    try:
        document = read_document(found.schema)
        reason = ""
    except BadDocumentError as error:
        document, reason = None, f" ({error})"
    if not isinstance(document, dict) or document.get("type") != "record":
        text = f"{_named(found)} is no Avro record{reason}; only records are read"
        raise DeclarationError([Problem("BAD_SCHEMA", text)])
    return document


def _named(found: RegisteredSchema) -> str:
    return f"version {found.version} of {found.subject}"


def _read(
    document: dict[str, Any], topic: str, found: RegisteredSchema, mode: str, options: PinOptions
) -> tuple[str, Contract]:
    """The text of a contract and the contract, with a doc for each field, a mode, and the options.

    Raises DeclarationError.
    """
    for _, each in field_definitions(document):
        doc = each.get("doc")
        if not isinstance(doc, str) or not doc.strip():
            each["doc"] = UNDOCUMENTED
    if options.key:
        document["key"] = options.key[0] if len(options.key) == 1 else list(options.key)
    if options.event_time is not None:
        document["eventTime"] = options.event_time
    document.setdefault("compatibility", mode)
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    source = Path(_named(found))  # its mistakes stand there, not in a file that nobody wrote
    return text, parse_contract(text, topic=topic, version=found.version or 1, path=source)


def _inherited(
    root: Path, topic: str, version: int, document: Mapping[str, Any], options: PinOptions
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Key and event time of the version beside this one, and those of them that do not fit it.

    Only where neither the options nor the schema itself have their own. The version before decides,
    or for the first one the next: `headwater check` compares those.
    """
    others = [each for each in file_versions(root, topic) if each != version]
    beside = max((each for each in others if each < version), default=min(others, default=None))
    if beside is None:
        return {}, {}
    own = adopted(document)
    said = own.keys() | ({"key"} if options.key else set())
    said |= {"eventTime"} if options.event_time is not None else set()
    before = load_contract(root / SCHEMAS, topic, beside).schema
    wanted = {name: before[name] for name in ("key", "eventTime") if name in before.keys() - said}
    fitting = adopted({**document, **wanted})
    kept = {name: value for name, value in wanted.items() if name in fitting}
    return kept, {name: value for name, value in wanted.items() if name not in kept}


def _otherwise(contract: Contract, wanted: Contract, options: PinOptions) -> str | None:
    """How a file differs from what is to be pinned; None when it says the same."""
    name = contract.path.name
    if fields_of(contract.record) != fields_of(wanted.record):
        return f"{name} holds another schema than the registry; move it away, or pin another"
    for said, own, asked in (
        ("the key", ", ".join(contract.key), ", ".join(options.key)),
        ("the event time", contract.event_time, options.event_time),
    ):
        if asked and own != asked:
            return f"{said} in {name} is {own or 'none'}, not {asked}; it is kept: correct it there"
    return None


def _says_the_same(found: RegisteredSchema, contract: Contract) -> bool:
    try:
        return bool(read_document(found.schema) == json.loads(contract.text))
    except BadDocumentError:
        return False


def _standing(contract: Contract, found: RegisteredSchema | None, *, is_equal: bool) -> Standing:
    return Standing(
        version=contract.version,
        file=str(contract.path),
        schema_id=found.schema_id if found else None,
        registered_as=found.version if found else None,
        is_equal=is_equal if found else None,
        deprecated=contract.deprecated,
        fate=fate_line(contract, today()),
    )


def _only_registered(found: RegisteredSchema) -> Standing:
    number = found.version or 0
    return Standing(number, None, found.schema_id, number, None, None, None)
