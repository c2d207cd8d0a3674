"""`headwater dead-letters`: what was set aside, and what becomes of it."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Final

import typer

from headwater.assembly.letters import DeadLetters, ReplayOptions, open_letters
from headwater.assembly.project import load_product
from headwater.cli.arguments import Format, FormatOption, Product
from headwater.cli.beginning import begin
from headwater.cli.interruption import keeping
from headwater.cli.letter_answers import (
    fields_of,
    outcome,
    print_letter,
    print_list,
    print_outcome,
)
from headwater.cli.letter_options import At, Codes, Keys, Since, Until, bad, place_of, selection_of
from headwater.cli.progress import progress_bar
from headwater.cli.words import counted
from headwater.errors import ConfigurationError, Problem

KEPT: Final = "what was committed is done, run it again for the rest"
UNCHANGED: Final = "nothing was changed"
AWAY: Final = "69 broker or registry away"
FENCED: Final = "75 another command took over"
MISTAKES: Final = "78 configuration or declaration"
RUNNING: Final = "or the product keeps the order of its letters and runs"
LOOKED: Final = f" Exit codes: 0 done, {AWAY}, {MISTAKES}."
STDIN: Final = 0  # the file descriptor
NOBODY: Final = (
    "standard input is no terminal, so nobody can be asked; say --yes to discard them, after"
    " `headwater dead-letters list` with the same options showed which they are"
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="What a product set aside: look at it, replay it, discard it, skip what halts it.",
    epilog="Example: headwater dead-letters list operations.departure-delays --code STEP_FAILED",
)


Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the audit log.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@app.command(
    "list",
    epilog="Example: headwater dead-letters list operations.departure-delays --since 1d --all."
    + LOOKED,
)
def list_letters(  # noqa: PLR0913, PLR0917  # one parameter per option
    product: Product,
    code: Codes = None,
    key: Keys = None,
    since: Since = None,
    until: Until = None,
    at: At = None,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """List the open dead letters of a product, in the order of their records, and why they are.

    Below each stand the step that refused the record and its message, shortened to the terminal.
    """
    selection = selection_of(code, key, since, until, at)
    with _opened(product) as letters, progress_bar(letters.box.topic) as progress:
        entries = letters.box.entries(selection, progress)
    shown = [each for each in entries if everything or each.status == "open"]
    totals = Counter(each.letter.code for each in shown)
    if form is Format.JSON:
        found = [fields_of(each) for each in shown]
        print(json.dumps({"topic": letters.box.topic, "letters": found, "totals": totals}))
        return
    print_list(shown, has_resolved=everything)
    said = ", ".join(f"{count:,} {name}" for name, count in totals.most_common())
    what = "dead letter" if everything else "open dead letter"
    print(f"{letters.box.topic}: {counted(len(shown), what)}{f': {said}' if said else ''}")


@app.command(
    epilog="Example: headwater dead-letters show operations.departure-delays --at 0@17 --payload."
    + LOOKED,
)
def show(  # noqa: PLR0913, PLR0917  # one parameter per option
    product: Product,
    code: Codes = None,
    key: Keys = None,
    since: Since = None,
    until: Until = None,
    at: At = None,
    payload: Annotated[
        bool,
        typer.Option("--payload", help="Key, value and headers too; sensitive fields masked."),
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Print everything about dead letters, resolved or not, but their payloads.

    With --payload the value is decoded under the contract of the input. Fields whose sensitivity
    is personal or secret are masked; bytes that cannot be decoded are shown only when the contract
    has no such field. Headers, of which no contract tells, are shown as they are.
    """
    selection = selection_of(code, key, since, until, at)
    with _opened(product) as letters:
        with progress_bar(letters.box.topic) as progress:
            entries = letters.box.entries(selection, progress)
        found = [fields_of(each) for each in entries]
        if payload:
            for fields, each in zip(found, entries, strict=True):
                fields["payload"] = letters.payload(each.letter)
    if form is Format.JSON:
        print(json.dumps({"topic": letters.box.topic, "letters": found}, ensure_ascii=False))
        return
    for fields in found:
        print_letter(fields)
    if not found:
        print(f"{letters.box.topic}: {counted(0, 'dead letter')}")


@app.command(
    epilog="Example: headwater dead-letters replay operations.departure-delays --code STEP_FAILED"
    " --dry-run. Exit codes: 0 done, though some may have failed again, 65 more than 20"
    f" of 500 records end a process, {AWAY}, {FENCED}, {MISTAKES}, {RUNNING}, 142 a step did not"
    " come back within the setting `step_timeout`.",
)
def replay(  # noqa: PLR0913, PLR0917  # one parameter per option
    product: Product,
    code: Codes = None,
    key: Keys = None,
    since: Since = None,
    until: Until = None,
    at: At = None,
    if_newest: Annotated[
        bool,
        typer.Option("--if-newest", help="Leave letters open whose keys have newer values."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would come of it.")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Send open dead letters through the current release of the product, each exactly once.

    First a child process tries them: a record that ends it fails again. What comes out is
    published in one transaction with the mark that resolves the letter; what fails again becomes a
    new letter. The product may run meanwhile, unless it has state or keeps the order of its
    letters: then it is to be stopped. Letters that wait for each other come together. A replayed
    value may be older than what its key holds by now: how many are is said, --if-newest leaves
    those letters open.
    """
    selection = selection_of(code, key, since, until, at)
    options = ReplayOptions(if_newest=if_newest, is_dry=dry_run)
    with (
        keeping(UNCHANGED if dry_run else KEPT),
        _opened(product) as letters,
        progress_bar(letters.box.topic) as progress,
    ):
        done = letters.replay(selection, options, progress)
    if form is Format.JSON:
        print(json.dumps(outcome(letters.box.topic, done, options)))
    else:
        print_outcome(letters.box.topic, done, options)


@app.command(
    epilog="Example: headwater dead-letters discard operations.departure-delays --code BAD_MAGIC"
    f' --reason "a test of the feed". Exit codes: 0 done, 1 you said no, {AWAY}, {FENCED},'
    f" {MISTAKES}, {RUNNING}.",
)
def discard(  # noqa: PLR0913, PLR0917  # one parameter per option
    product: Product,
    reason: Reason,
    code: Codes = None,
    key: Keys = None,
    since: Since = None,
    until: Until = None,
    at: At = None,
    yes: Yes = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Mark open dead letters as discarded; the letters stay, the audit log says who and why.

    It asks first how many are meant. Where nobody can be asked, in a pipe or in CI, it refuses
    unless there is --yes.
    """
    selection = selection_of(code, key, since, until, at)
    said = _reason(reason)
    if not yes and not os.isatty(STDIN):
        raise ConfigurationError([Problem("UNCONFIRMED", NOBODY)])
    with keeping(KEPT), _opened(product) as letters:
        if not yes:
            with progress_bar(letters.box.topic) as progress:
                count = len(open_letters(letters.box.entries(selection, progress)))
            typer.confirm(
                f"Discard {counted(count, 'open letter')} of {product}?", abort=True, err=True
            )
        with progress_bar(letters.box.topic) as progress:
            count = letters.discard(selection, said, progress)
    if form is Format.JSON:
        print(json.dumps({"topic": letters.box.topic, "discarded": count}))
    else:
        print(f"{letters.box.topic}: {counted(count, 'letter')} discarded")


@app.command(
    epilog="Example: headwater dead-letters skip operations.departure-delays"
    f' "operations.departures[0]@4711" --reason "corrupt on disk". Exit codes: 0 done, {AWAY},'
    f" {FENCED}, {MISTAKES}, or the product runs, or stands elsewhere.",
)
def skip(
    product: Product,
    place: Annotated[
        str, typer.Argument(metavar="TOPIC[PARTITION]@OFFSET", help="Where it halts.")
    ],
    reason: Reason,
    to: Annotated[
        int | None,
        typer.Option(metavar="OFFSET", help="Where to go on; else behind the record or batch."),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Move a stopped product past a record that halts a partition; the audit log says who and why.

    Only from exactly where the product stands. Of a damaged batch no record can be read: it is
    skipped as a whole, and the command says how many offsets that are.
    """
    partition, offset = place_of(place)
    with keeping("the skip is either done as a whole or not at all"), _opened(product) as letters:
        end = letters.skip((partition, offset), to, _reason(reason))
    if form is Format.JSON:
        where = {"topic": partition.topic, "partition": partition.index}
        print(json.dumps({**where, "offset": offset, "next_offset": end}))
        return
    skipped = counted(end - offset, "offset")
    print(f"{product} goes on at {partition}@{end}: {skipped} skipped")


@contextmanager
def _opened(product: str) -> Iterator[DeadLetters]:
    loaded = load_product(product)
    settings = begin()
    with closing(DeadLetters(loaded, settings)) as letters:
        yield letters


def _reason(text: str) -> str:
    if not text.strip():
        raise bad("--reason: say why; the audit log keeps it")
    return text.strip()
