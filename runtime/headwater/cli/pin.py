"""`headwater pin`: keep cuts of a product's snapshots readable, whatever their age."""

import re
from typing import Annotated, Final

import typer

from headwater.assembly.pins import pin as keep
from headwater.assembly.pins import tables_of, unpin
from headwater.assembly.project import load_product
from headwater.cli.arguments import Product, Tables
from headwater.config import load_settings
from headwater.errors import ConfigurationError, Problem
from headwater.snapshot.history import commit_at

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # what is a file name anywhere

app = typer.Typer(add_completion=False)

Pin = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="Of the pin; without one, all pins are listed."),
]
At = Annotated[
    str | None,
    typer.Option(
        "--cut",
        metavar="CUT",
        help="Table version, commit id or time; by default the newest.",
    ),
]


@app.command(
    epilog="Example: headwater pin operations.departure-delays audit-2026 --cut 2026-01-01."
    " Exit codes: 0 done; 2 there is no such snapshot, cut or pin; 69 storage away or upkeep under"
    " way; 78 configuration, declaration, a damaged table, or a cut that is not kept any more."
)
def pin(
    product: Product,
    name: Pin = None,
    cut: At = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let go of the pin.")] = False,
    to: Tables = None,
) -> None:
    """Keep a cut of a product's snapshots readable until its pin is removed.

    Upkeep takes away what is older than the product keeps, but nothing that a pinned cut needs. A
    pin of a name that there is moves. Needs neither broker nor registry.
    """
    if (remove and name is None) or (name is not None and not NAME.fullmatch(name)):
        message = f"{name or ''} is no name of a pin: letters, digits, dots, dashes, underscores."
        raise ConfigurationError([Problem("BAD_VALUE", message)])
    if cut is not None and (remove or name is None):
        message = "--cut goes with the name of a pin to set"
        raise ConfigurationError([Problem("USAGE", message)])
    loaded = load_product(product)
    for topic, table in tables_of(loaded, load_settings(), to):
        if name is not None and remove:
            unpin(table, name)
        elif name is not None:
            keep(table, name, cut)
        pins = [f"{each} at version {version}" for each, version in table.pins().items()]
        if not pins:
            commit_at(table, None)  # so that a wrong place is not taken for one without pins
        print(f"{topic}: {', '.join(pins) or 'nothing is pinned'}")
