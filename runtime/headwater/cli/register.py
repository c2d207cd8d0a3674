"""`headwater register`: publish the schemas of products."""

import json
from collections.abc import Sequence

import typer

from headwater.assembly import registration
from headwater.assembly.addresses import resolve
from headwater.assembly.gate import fate_line, require_sound_changes, today
from headwater.assembly.project import load_product
from headwater.assembly.registration import Registration
from headwater.cli.arguments import Format, FormatOption, Products
from headwater.cli.tables import show, table
from headwater.config import load_settings

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: headwater register operations.departure-delays. Exit codes: 0 done,"
    " 69 registry away, 78 configuration, declaration, or a change that breaks readers."
)
def publish(products: Products, form: FormatOption = Format.TEXT) -> None:
    """Publish the output contracts of products to the schema registry.

    Each subject gets the contract's compatibility first (FULL_TRANSITIVE unless it says
    otherwise), so the registry refuses what would break consumers: exit 78, with its reasons.
    Before that, what `headwater check` refuses of the contracts' changes is refused here too.
    Publishing again changes nothing.
    """
    loaded = [load_product(product) for product in products]
    require_sound_changes(loaded)
    done = registration.publish(loaded, resolve(load_settings()))
    if form is Format.JSON:
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
        "fate": fate_line(each.contract, today()),
    }


def _print(done: Sequence[Registration]) -> None:
    headings = ("subject", "contract", "id", "version", "compatibility", "state")
    made = table(*headings, numbers={"id", "version"})
    for each in done:
        fate = fate_line(each.contract, today())
        state = "published" if each.is_new else "already there"
        made.add_row(
            each.subject,
            f"v{each.contract.version}",
            str(each.schema_id),
            str(each.version),
            each.compatibility,
            state if fate is None else f"{state}, {fate}",
        )
    show(made)
