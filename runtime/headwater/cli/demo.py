"""`headwater demo`: real flights, to try Headwater with."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from headwater.assembly.addresses import resolve
from headwater.assembly.feed import PARTITIONS, Fed, FeedOptions
from headwater.assembly.feed import feed as run_feed
from headwater.assembly.project import SCHEMAS, project_root
from headwater.cli.progress import progress_bar
from headwater.config import load_settings

PIPED_WIDTH: Final = 200  # columns: a name cut short in a pipe is no name

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Real flights and weather, to try Headwater with.",
)


class Format(StrEnum):
    """How the answer is written."""

    TEXT = "text"
    JSON = "json"


@app.callback()
def root() -> None:
    """Real flights and weather, to try Headwater with."""


@app.command(epilog="Example: headwater demo feed --repeat 6")
def feed(
    repeat: Annotated[
        int, typer.Option(min=1, help="Copies of every departure, with distinct flight ids.")
    ] = 1,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, help=f"Partitions of topics that do not exist yet; {PARTITIONS}."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Append everything once more, whatever is there.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TEXT,
) -> None:
    """Feed the flights and the weather of New York in 2013 into Kafka.

    336,776 departures and 26,115 weather observations become logs in event-time order, and
    aircraft, airports and airlines become table topics; the schemas are registered.

    A record that is already there is left out: feeding twice changes nothing, feeding after an
    interruption completes, and a larger --repeat adds the copies that are missing.
    """
    settings = resolve(load_settings())
    options = FeedOptions(repeat=repeat, partitions=partitions, again=again)
    with progress_bar("feed") as tell:
        fed = list(run_feed(settings, project_root(Path.cwd()) / SCHEMAS, options, tell))
    if format_ is Format.JSON:
        typer.echo(json.dumps([asdict(topic) for topic in fed], indent=2))
    else:
        _print(fed)


def _print(fed: Sequence[Fed]) -> None:
    table = Table("Topic", "Partitions", "Records", "", "Seconds", box=None)
    for topic in fed:
        told = f"{topic.written:,} written" if topic.written else "already there"
        table.add_row(
            topic.topic, str(topic.partitions), f"{topic.records:,}", told, f"{topic.seconds:.1f}"
        )
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)
