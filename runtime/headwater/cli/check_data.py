"""`headwater check-data`: ask the rules of a product's contracts of its snapshots."""

import json
from dataclasses import asdict

import typer

from headwater.assembly.data_check import Checked, data_checks
from headwater.assembly.project import load_product
from headwater.assembly.table_formats import SnapshotTables
from headwater.cli.arguments import Format, FormatOption, Product, Tables
from headwater.cli.interruption import keeping
from headwater.cli.progress import progress_bar
from headwater.cli.tables import show, table
from headwater.cli.words import counted
from headwater.config import load_settings
from headwater.errors import DifferenceError

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: headwater check-data operations.departure-delays. Exit codes: 0 the rules"
    " hold, those that warn aside; 1 a rule is broken; 2 there is no snapshot to look at, or it"
    " has other columns; 69 storage away; 78 configuration, declaration or a damaged table."
)
def check_data(
    product: Product,
    to: Tables = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Ask the rules of a product's contracts of the newest version of its snapshots.

    Those of each row are the ones that records are asked on their way in and out; those under
    "dataset" look at many rows: unique fields, the number of rows, keys of another product, whose
    snapshot is read too. Needs neither broker nor registry.
    """
    loaded = load_product(product)
    tables = SnapshotTables.of(load_settings(), loaded.name, to)
    failed: list[str] = []
    for topic, check in data_checks(loaded, tables):
        with keeping("nothing was changed"), progress_bar(topic) as progress:
            found = check.run(progress)
        if form is Format.JSON:
            rules = [{**asdict(each), "failed": each.is_failed} for each in found]
            print(json.dumps({"product": loaded.name, "topic": topic, "rules": rules}), flush=True)
        else:
            _show(topic, found)
        failed += [f"{each.rule} of {topic}" for each in found if each.is_failed]
    if failed:
        raise DifferenceError(
            f"{len(failed)} of the rules of {loaded.name} do not hold: {', '.join(failed)}; the"
            " records stand at the partitions and offsets above.",
            code="RULES_BROKEN",
        )


def _show(topic: str, found: list[Checked]) -> None:
    if not found:
        print(f"{topic}: its contract has no rules")
        return
    print(f"{topic}: {counted(found[0].rows, 'row')}")
    made = table("rule", "check", "severity", "broken", "partition@offset", numbers={"broken"})
    for each in found:
        style = "red" if each.is_failed else "yellow" if each.broken else None
        places = ", ".join(f"{partition}@{offset}" for partition, offset in each.examples)
        made.add_row(each.rule, each.check, each.severity, f"{each.broken:,}", places, style=style)
    show(made)
