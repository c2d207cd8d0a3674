"""`headwater check`: every mistake of products, contracts and samples at once."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from headwater.assembly.addresses import resolve
from headwater.assembly.checking import check as check_project
from headwater.assembly.published import registry_of
from headwater.cli.arguments import Format, FormatOption
from headwater.cli.words import counted
from headwater.config import load_settings

app = typer.Typer(add_completion=False)


Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PRODUCT|CONTRACT",
        help="Products (name, folder or file) and files of contracts; everything by default.",
    ),
]
BaseOption = Annotated[
    str | None,
    typer.Option(
        metavar="REF",
        help="A branch, tag or commit: no contract that stands there may differ here.",
    ),
]
RegistryOption = Annotated[
    bool,
    typer.Option(
        "--registry", help="Also compare the registry's schemas with the contracts published here."
    ),
]


@app.command(
    epilog="Example: headwater check products/operations/departure_delays --base origin/main. "
    "Exit codes: 0 nothing wrong, 69 the registry does not answer, 78 mistakes, one per line with"
    " file and line; with --format json also as {problems: [{code, message, file, line}]}."
)
def check(
    targets: Targets = None,
    base: BaseOption = None,
    registry: RegistryOption = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Find every mistake in products, contracts and samples, without a broker.

    Each version of a contract is held against the earlier ones under the mode it declares, against
    the snapshot table, and against every product of the project that reads it.
    """
    opened = registry_of(resolve(load_settings())) if registry else nullcontext()
    with opened as found:
        checked = check_project(targets or [], Path.cwd(), base=base, registry=found)
    if form is Format.JSON:
        print(
            json.dumps(
                {
                    "products": checked.products,
                    "unproved": checked.unproved,
                    "contracts": checked.contracts,
                    "versions": checked.details,
                    "notes": checked.notes,
                    "samples": checked.samples,
                }
            )
        )
        return
    for name in checked.products:
        proved = ", not proved on data: no samples" if name in checked.unproved else ""
        print(f"product   {name}{proved}")
    for each in checked.details:
        fate = f", {each['fate']}" if each["fate"] else ""
        print(f"contract  {each['topic']} v{each['version']}, {each['compatibility']}{fate}")
    for note in checked.notes:
        print(f"note      {note}")
    print(
        f"Nothing wrong in {counted(len(checked.products), 'product')},"
        f" {counted(len(checked.contracts), 'contract')}"
        f" and {counted(checked.samples, 'sample')}."
    )
