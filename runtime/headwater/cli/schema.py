"""`headwater schema`: contracts and what the registry holds, shown, compared, pinned."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from headwater.assembly import schemas
from headwater.assembly.addresses import resolve
from headwater.assembly.published import registry_of
from headwater.assembly.registration import value_subject
from headwater.assembly.root import project_root
from headwater.assembly.schemas import Difference, Pinned, PinOptions, Standing
from headwater.cli.arguments import Format, FormatOption
from headwater.cli.tables import show as show_table
from headwater.cli.tables import table
from headwater.config import load_settings
from headwater.contract import Contract, fields_of
from headwater.contract.attributes import field_definitions
from headwater.errors import ConfigurationError, Problem

EXITS: Final = " Exit codes: 0 done, 69 registry away, 78 configuration, a contract or an argument."

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Contracts and what the registry holds: show, compare, and pin what others publish.",
    epilog="Example: headwater schema versions operations.departures",
)


Topic = Annotated[
    str, typer.Argument(metavar="TOPIC", help="A topic, whose contracts stand in `schemas/`.")
]
Subject = Annotated[
    str | None, typer.Option("--subject", metavar="SUBJECT", help="Ask the registry for this one.")
]


@app.command(
    epilog="Example: headwater schema show operations.departures --subject "
    "operations.departures-value." + EXITS
)
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
        source, text = str(contract.path), contract.schema
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
def versions(topic: Topic, subject: Subject = None, form: FormatOption = Format.TEXT) -> None:
    """List the versions in files, each beside its copy in the registry, and whether they agree."""
    with registry_of(resolve(load_settings())) as registry:
        named = subject or value_subject(topic)
        found = schemas.standings(project_root(Path.cwd()), topic, named, registry)
        mode = registry.compatibility(named)
    if form is Format.JSON:
        rows = [asdict(each) for each in found]
        _json({"topic": topic, "subject": named, "compatibility": mode, "versions": rows})
    else:
        _versions(found, f"{named}, {mode}")


@app.command(epilog="Example: headwater schema diff operations.departures 1 2." + EXITS)
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
def pin(  # noqa: PLR0913, PLR0917  # one parameter per option
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic to read.")],
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="SUBJECT", help="By default TOPIC-value.")
    ] = None,
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
    name, the subject's compatibility, and a sentence to be replaced where a field has no doc. A
    file that is there is never written over.
    """
    number = _number(version)
    named = subject or value_subject(topic)
    options = PinOptions(tuple(key or ()), event_time)
    with registry_of(resolve(load_settings())) as registry:
        found = schemas.registered(registry, named, number)
        mode = registry.compatibility(named)
        pinned = schemas.pin(project_root(Path.cwd()), topic, found, mode, options)
    if form is Format.JSON:
        _json(_pinned_fields(pinned))
    else:
        _pinned(pinned)


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
    if contract.deprecated:
        until = f", gone after {contract.sunset}" if contract.sunset else ""
        print(f"deprecated: {contract.deprecated}{until}")
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
        if each.deprecated:
            note += f", deprecated: {each.deprecated}"
        made.add_row(file, as_version, str(each.schema_id or ""), note)
    show_table(made)


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


def _pinned_fields(pinned: Pinned) -> dict[str, Any]:
    return {
        "file": str(pinned.path),
        "topic": pinned.contract.topic,
        "version": pinned.contract.version,
        "subject": pinned.subject,
        "id": pinned.schema_id,
        "new": pinned.is_new,
        "rules_left_out": list(pinned.rules_left_out),
        "stripped": pinned.is_stripped,
        "to_document": list(pinned.to_document),
    }


def _pinned(pinned: Pinned) -> None:
    done = "pinned" if pinned.is_new else "is pinned already"
    print(f"{pinned.subject}, id {pinned.schema_id}: {done} as {pinned.path}")
    print(f'read it with product.stream("{pinned.contract.topic}", ', end="")
    print(f"contract={pinned.contract.version})")
    if not pinned.contract.key:
        print("no key: name the field with --key when the topic has one")
    if pinned.rules_left_out:
        print(f"its rules were left out, write your own: {', '.join(pinned.rules_left_out)}")
    if pinned.is_stripped:
        print("its own attributes were left out: ours of those names mean something else")
    if pinned.to_document:
        print(f"say what these fields mean: {', '.join(pinned.to_document)}")
