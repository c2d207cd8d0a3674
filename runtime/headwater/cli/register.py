"""`headwater register`: publish the schemas of products."""

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Column, Table

from headwater.assembly import registration
from headwater.assembly.addresses import resolve
from headwater.assembly.gate import require_sound_changes
from headwater.assembly.project import load_product
from headwater.assembly.registration import Registration
from headwater.config import load_settings

PIPED_WIDTH: Final = 200  # columns: a name cut short in a pipe is no name

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


class Format(StrEnum):
    """How the answer is written."""

    TEXT = "text"
    JSON = "json"


@app.command(epilog="Example: headwater register operations.departure-delays")
def publish(
    products: Annotated[list[str], typer.Argument(help="Names or folders of products.")],
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TEXT,
) -> None:
    """Publish the output contracts of products to the schema registry.

    Each subject gets the contract's compatibility first (FULL_TRANSITIVE unless it says
    otherwise), so the registry refuses what would break consumers: exit 78, with its reasons.
    Before that, what `headwater check` refuses of the contracts' changes is refused here too.
    Publishing again changes nothing.
    """
    loaded = [load_product(product) for product in products]
    require_sound_changes(loaded)
    done = registration.publish(loaded, resolve(load_settings()))
    if format_ is Format.JSON:
        typer.echo(json.dumps([_entry(each) for each in done], indent=2))
    else:
        _print(done)


def _entry(each: Registration) -> dict[str, object]:
    return {
        "subject": each.subject,
        "topic": each.contract.topic,
        "contract": each.contract.version,
        "id": each.schema_id,
        "version": each.version,
        "compatibility": each.compatibility,
        "new": each.is_new,
        "deprecated": each.contract.deprecated,
        "sunset": each.contract.sunset.isoformat() if each.contract.sunset else None,
    }


def _fate(each: Registration) -> list[str]:
    if each.contract.deprecated is None:
        return []
    ends = f", ends {each.contract.sunset}" if each.contract.sunset else ""
    return [f"deprecated: {each.contract.deprecated}{ends}"]


def _print(done: Sequence[Registration]) -> None:
    subject = Column("Subject", overflow="fold")
    table = Table(subject, "Contract", "Id", "Version", "Compatibility", "", box=None)
    for each in done:
        table.add_row(
            each.subject,
            f"v{each.contract.version}",
            str(each.schema_id),
            str(each.version),
            each.compatibility,
            ", ".join(["published" if each.is_new else "already there", *_fate(each)]),
        )
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)
