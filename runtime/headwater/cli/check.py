"""`headwater check`: every mistake of products, contracts and samples at once."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headwater.assembly.checking import check as check_project
from headwater.cli.words import counted

app = typer.Typer(add_completion=False)


class Format(StrEnum):
    """How the answer is written."""

    TEXT = "text"
    JSON = "json"


Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH...]",
        help="Products (name, folder or file) and contracts; everything when left out.",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print what was checked.")]


@app.command(
    epilog="Example: headwater check products/operations/departure_delays. "
    "Exit codes: 0 nothing wrong, 78 mistakes, one per line with file and line; with --format json"
    " also as {problems: [{code, message, file, line}]}."
)
def check(targets: Targets = None, form: FormatOption = Format.TEXT) -> None:
    """Find every mistake in products, contracts and samples, without a broker."""
    checked = check_project(targets or [], Path.cwd())
    if form is Format.JSON:
        print(
            json.dumps(
                {
                    "products": checked.products,
                    "unproved": checked.unproved,
                    "contracts": checked.contracts,
                    "samples": checked.samples,
                }
            )
        )
        return
    for name in checked.products:
        proved = ", not proved on data: no samples" if name in checked.unproved else ""
        print(f"product   {name}{proved}")
    for name in checked.contracts:
        print(f"contract  {name}")
    print(
        f"Nothing wrong in {counted(len(checked.products), 'product')},"
        f" {counted(len(checked.contracts), 'contract')}"
        f" and {counted(checked.samples, 'sample')}."
    )
