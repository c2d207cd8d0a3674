"""`headwater schema`: contracts and what the registry holds, shown, compared, pinned."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from headwater.assembly import schemas
from headwater.assembly.addresses import resolve
from headwater.assembly.gate import fate_line, today
from headwater.assembly.project import from_here, told
from headwater.assembly.published import registry_of
from headwater.assembly.root import project_root
from headwater.assembly.schemas import Difference, Pinned, PinOptions, Standing
from headwater.assembly.upstream import Upstream, subject_for, upstream_of
from headwater.cli.arguments import Format, FormatOption
from headwater.cli.tables import show as show_table
from headwater.cli.tables import table
from headwater.config import load_settings
from headwater.contract import Contract, fields_of
from headwater.contract.attributes import field_definitions
from headwater.errors import ConfigurationError, DeclarationError, Problem

EXITS: Final = " Exit codes: 0 done, 69 registry away, 78 configuration, a contract or an argument."

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Contracts and what the registry holds: show, compare, and pin what others publish.",
    epilog="Example: headwater schema versions operations.departures",
)


Topic = Annotated[
    str,
    typer.Argument(
        metavar="TOPIC", help="A topic, or a type of event, whose contracts stand in `schemas/`."
    ),
]
Subject = Annotated[
    str | None, typer.Option("--subject", metavar="SUBJECT", help="Ask the registry for this one.")
]
DeclaredSubject = Annotated[
    str | None,
    typer.Option(
        "--subject",
        metavar="SUBJECT",
        help="By default the one that an input declares, else TOPIC-value.",
    ),
]


@contextmanager
def _seen_from_here() -> Iterator[None]:
    """The files of problems as paths from here, as `headwater check` tells them."""
    try:
        yield
    except DeclarationError as error:
        raise told(error.problems) from error


@app.command(
    epilog="Example: headwater schema show operations.departures --subject "
    "operations.departures-value." + EXITS
)
@_seen_from_here()
def show(
    topic: Topic,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="By default the newest.")
    ] = None,
    subject: Subject = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Print one version of a contract, from its file or from the registry."""
    if subject is None:
        contract = schemas.from_file(project_root(Path.cwd()), topic, version)
        source, text = str(from_here(str(contract.path))), contract.schema
    else:
        with registry_of(resolve(load_settings())) as registry:
            found, contract = schemas.from_registry(registry, topic, subject, version)
        source = f"{subject}, version {found.version}, id {found.schema_id}"
        text = json.loads(found.schema)
    if form is Format.JSON:
        shown = {"topic": topic, "version": contract.version, "from": source, "schema": text}
        _json(shown)
    else:
        _show(contract, source)


@app.command(epilog="Example: headwater schema versions operations.departures." + EXITS)
@_seen_from_here()
def versions(
    topic: Topic, subject: DeclaredSubject = None, form: FormatOption = Format.TEXT
) -> None:
    """List the versions in files, each beside its copy in the registry, and whether they agree."""
    root = project_root(Path.cwd())
    named = subject_for(root, topic, subject)
    with registry_of(resolve(load_settings())) as registry:
        found = schemas.standings(root, topic, named, registry)
        mode = registry.compatibility(named)
    if form is Format.JSON:
        rows = [asdict(each) | {"file": from_here(each.file)} for each in found]
        _json({"topic": topic, "subject": named, "compatibility": mode, "versions": rows})
    else:
        _versions(found, f"{named}, {mode}")


@app.command(epilog="Example: headwater schema diff operations.departures 1 2." + EXITS)
@_seen_from_here()
def diff(
    topic: Topic,
    older: Annotated[
        int | None,
        typer.Argument(metavar="OLDER", help="A version; by default the one before the newer."),
    ] = None,
    newer: Annotated[
        int | None, typer.Argument(metavar="NEWER", help="Another; by default the newest.")
    ] = None,
    subject: Subject = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Compare two versions of a contract: their fields, and which readers the change breaks."""
    if subject is None:
        root = project_root(Path.cwd())
        known = schemas.file_versions(root, topic)
        pair = schemas.neighbours(topic, known, older, newer)
        before, after = (schemas.from_file(root, topic, each) for each in pair)
    else:
        with registry_of(resolve(load_settings())) as registry:
            known = [each.version or 1 for each in registry.versions(subject)]
            pair = schemas.neighbours(subject, known, older, newer)
            before, after = (
                schemas.from_registry(registry, topic, subject, each)[1] for each in pair
            )
    found = schemas.difference(before, after)
    if form is Format.JSON:
        _json({"topic": topic, "older": pair[0], "newer": pair[1], **asdict(found)})
    else:
        _difference(found, *pair)


@app.command(
    epilog="Example: headwater schema pin billing.invoices --key invoice_id --event-time issued."
    + EXITS
)
@_seen_from_here()
def pin(  # noqa: PLR0913, PLR0917  # one parameter per option
    topic: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC", help="The topic to read, or the contract of a type of event in it."
        ),
    ],
    subject: DeclaredSubject = None,
    version: Annotated[
        str, typer.Option("--version", metavar="N", help="The registry's version, or latest.")
    ] = "latest",
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="FIELD", help="A field of the topic's key; repeatable."),
    ] = None,
    event_time: Annotated[
        str | None, typer.Option("--event-time", metavar="FIELD", help="When an event happened.")
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Copy an upstream's schema from the registry into `schemas/`, as the version to read with.

    The file keeps all the schema says but its rules, which are never taken over, and is named after
    the registry's version. What the registry cannot know is added: the key and the event time you
    name, or those of the version before; the subject's compatibility, and a sentence to be replaced
    where a field has no doc. A file that is there is never written over.

    Where a subject names its record, the topic has several types of events: the contract is named
    after the event, as operations.gate-opened, or as you say in place of the topic.
    """
    number, root = _number(version), project_root(Path.cwd())
    named = subject_for(root, topic, subject)
    options = PinOptions(tuple(key or ()), event_time)
    with registry_of(resolve(load_settings())) as registry:
        found = schemas.registered(registry, named, number)
        mode = registry.compatibility(named)
        upstream = upstream_of(root, topic, found)
        pinned = schemas.pin(root, upstream.contract, found, mode, options)
    if form is Format.JSON:
        _json(_pinned_fields(pinned, upstream))
    else:
        _pinned(pinned, upstream)


def _number(version: str) -> int | None:
    if version == "latest":
        return None
    if not version.isdecimal():
        text = f"--version {version!r} is neither a number nor 'latest'"
        raise ConfigurationError([Problem("BAD_VALUE", text)])
    return int(version)


def _json(shown: object) -> None:
    print(json.dumps(shown, ensure_ascii=False, indent=2))


def _show(contract: Contract, source: str) -> None:
    print(f"{contract.topic} v{contract.version}, from {source}")
    key = ", ".join(contract.key) or "none"
    time = contract.event_time or "none"
    print(f"key {key}, event time {time}, {contract.compatibility}")
    if (fate := fate_line(contract, today())) is not None:
        print(fate)
    docs = {name: each.get("doc", "") for name, each in field_definitions(contract.schema)}
    made = table("field", "type", "what it is")
    for path, kind in fields_of(contract.record).items():
        made.add_row(path, kind, docs.get(path, ""))
    show_table(made)


def _versions(found: Sequence[Standing], heading: str) -> None:
    print(heading)
    made = table("contract", "registered as", "id", "registered schema", numbers={"id"})
    for each in found:
        file = f"v{each.version}" if each.file else ""
        as_version = str(each.registered_as or "")
        note = {True: "equal", False: "differs", None: ""}[each.is_equal]
        if each.file is None:
            note = "no file"
        elif each.schema_id is None:
            note = "not registered"
        if each.fate is not None:
            note += f", {each.fate}"
        made.add_row(file, as_version, str(each.schema_id or ""), note)
    show_table(made)


def _words(attribute: str, value: str | Sequence[str]) -> str:
    named = {"key": "key", "eventTime": "event time"}[attribute]
    return f"{named} {value if isinstance(value, str) else ', '.join(value)}"


def _difference(found: Difference, older: int, newer: int) -> None:
    for path in found.added:
        print(f"+ {path}")
    for path in found.removed:
        print(f"- {path}")
    for path, (before, after) in found.changed.items():
        print(f"~ {path}: {before} -> {after}")
    if not (found.added or found.removed or found.changed):
        print("The fields are the same.")
    for reasons, verdict in (
        (found.backward, f"v{newer} reads what v{older} wrote"),
        (found.forward, f"readers of v{older} read v{newer}"),
    ):
        print(f"{verdict}: {'no' if reasons else 'yes'}")
        for reason in reasons:
            print(f"  {reason}")


def _pinned_fields(pinned: Pinned, upstream: Upstream) -> dict[str, Any]:
    return {
        "file": from_here(str(pinned.path)),
        "topic": upstream.topic,
        "contract": upstream.contract,
        "version": pinned.contract.version,
        "subject": pinned.subject,
        "id": pinned.schema_id,
        "new": pinned.is_new,
        "read": upstream.call(pinned.contract.version),
        "inherited": dict(pinned.inherited),
        "lost": dict(pinned.lost),
        "rules_left_out": list(pinned.rules_left_out),
        "stripped": pinned.is_stripped,
        "to_document": list(pinned.to_document),
    }


def _pinned(pinned: Pinned, upstream: Upstream) -> None:
    done = "pinned" if pinned.is_new else "is pinned already"
    print(f"{pinned.subject}, id {pinned.schema_id}: {done} as {from_here(str(pinned.path))}")
    print(f"read it with {upstream.call(pinned.contract.version)}")
    if upstream.is_typed:
        print('the topic may have other types of events: read them too, or write others="skip"')
    for name, value in pinned.inherited.items():
        print(f"{_words(name, value)}, as in the version beside it")
    for name, value in pinned.lost.items():
        print(f"the version beside it has {_words(name, value)}, which this schema cannot have")
    if not pinned.contract.key and "key" not in pinned.lost:
        print('no key: write one into the file, as "key": "id", when the topic has one')
    if pinned.rules_left_out:
        print(f"its rules were left out, write your own: {', '.join(pinned.rules_left_out)}")
    if pinned.is_stripped:
        print("its own attributes were left out: ours of those names mean something else")
    if pinned.to_document:
        print(f"say what these fields mean: {', '.join(pinned.to_document)}")
