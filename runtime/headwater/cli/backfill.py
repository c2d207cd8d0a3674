"""`headwater backfill`: a product's input from its snapshot, where the log is gone."""

from typing import Annotated

import typer

from headwater.assembly.backfill import open_backfill
from headwater.assembly.project import load_product
from headwater.assembly.running import RunOptions, run_product
from headwater.cli.arguments import Format, FormatOption, Product
from headwater.cli.beginning import begin
from headwater.cli.progress import RunBars
from headwater.cli.run import Incompatible, Register
from headwater.cli.running import print_summary

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: headwater backfill operations.route-punctuality --from-snapshot"
    " operations.departures. Exit codes: 0 filled up to the cut, 65 too many bad records or a"
    " halted partition, 69 broker, registry or storage away, 75 another process uses this id, 78"
    " configuration, declaration, or nothing to fill from or for, 142 a step did not come back"
    " within the setting `step_timeout`."
)
def backfill(
    product: Product,
    from_snapshot: Annotated[
        str,
        typer.Option(
            "--from-snapshot", metavar="INPUT", help="Topic of the input that is read from there."
        ),
    ],
    register: Register = False,
    on_incompatible: Incompatible = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Process the snapshot of an input whose log is gone, exactly once, up to its cut.

    The rows are read as the records that they were, in the order of the log, below the setting
    `snapshots`; other inputs are read from their logs meanwhile. Then `headwater run` goes on at
    the cut. An interruption loses nothing: the same command goes on while the log does not reach
    back to where the product stands, and `headwater run` from there on.
    """
    loaded = load_product(product)
    settings = begin()
    found = open_backfill(loaded, from_snapshot, settings)
    options = RunOptions(True, register, found, on_incompatible)
    with RunBars(loaded.name, has_end=True) as bars:
        summary = run_product(loaded, settings, options, bars.progressed, bars.restoring)
    print_summary(summary, form, until_end=True)
    if form is Format.TEXT and not summary.was_stopped:
        cut = " ".join(f"[{p.index}]@{at}" for p, at in sorted(found.cut.items()))
        print(f"{from_snapshot} is read up to the cut {cut}; `headwater run` goes on from there")
