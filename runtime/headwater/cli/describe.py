"""`headwater describe`: what a product reads, does and publishes."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from headwater.assembly.description import describe as describe_product
from headwater.assembly.project import load_product

app = typer.Typer(add_completion=False)


class Format(StrEnum):
    """How the description is written."""

    TEXT = "text"
    JSON = "json"


ProductName = Annotated[
    str, typer.Argument(metavar="PRODUCT", help="Name, folder or file of a product.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the description.")]


@app.command(epilog="Example: headwater describe operations.departure-delays --format json")
def describe(product: ProductName, form: FormatOption = Format.TEXT) -> None:
    """Print a product's inputs, steps, output contracts and topics."""
    description = describe_product(load_product(product, Path.cwd()))
    if form is Format.JSON:
        print(json.dumps(description, indent=2))
    else:
        _show(description)


def _show(description: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{description['name']}, owned by {description['owner']}")
    if description["snapshot"]:
        console.print("snapshot: every {every}, mode {mode}".format(**description["snapshot"]))
    for source in description["inputs"]:
        typed = f"type {source['type']} of " if "type" in source else ""
        console.print(
            "reads: {0}{topic}, contract v{contract}, from {start}".format(typed, **source)
        )
        _show_fate(console, source)
    for output in description["outputs"]:
        console.print("\npublishes: {topic}, contract v{contract}".format(**output))
        _show_fate(console, output)
        console.print(f"  from {output['from']}")
        for step in output["steps"]:
            console.print("  -> {name}: {does}  [{at}]".format(**step))
        console.print(
            f"  key {', '.join(output['key']) or 'none'},"
            f" event time {output['event_time'] or 'none'}, {output['compatibility']}"
        )
        table = Table("field", "type", "unit", "what it is", box=None, padding=(0, 1))
        for field in output["fields"]:
            table.add_row(field["name"], field["type"], field["unit"], field["doc"])
        console.print(table)
    console.print(f"\ntopics: {', '.join(description['topics'])}")


def _show_fate(console: Console, shown: dict[str, Any]) -> None:
    if "deprecated" in shown:
        ends = f", ends {shown['sunset']}" if shown["sunset"] else ""
        console.print(f"  deprecated: {shown['deprecated']}{ends}")
