"""`headwater verify`: prove that a product's snapshots equal its logs."""

import json
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from headwater.assembly.addresses import resolve
from headwater.assembly.project import load_product
from headwater.assembly.snapshots import Snapshots
from headwater.cli.arguments import Format, FormatOption, Product, Tables
from headwater.cli.interruption import keeping
from headwater.cli.progress import progress_bar
from headwater.config import load_settings
from headwater.errors import DifferenceError, UnverifiableError
from headwater.snapshot.verdict import Verdict

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: headwater verify operations.departure-delays --full."
    " Exit codes: 0 equal, 1 different or damaged, 2 cannot be decided, 69 broker, registry or"
    " storage away, 78 configuration or declaration."
)
def verify(
    product: Product,
    full: Annotated[
        bool, typer.Option("--full", help="Read every record with the row codec too, not 1 %.")
    ] = False,
    to: Tables = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Prove that what a product's snapshots hold equals its logs, row for row.

    Reads the log of every commit again, and every row of every file of the table, and compares both
    with what the commit recorded: number of rows and hash per partition. A difference names
    partition and offset; a file or record that cannot be read is a difference.

    It proves what the table holds, not that the table is the newest there was: one whose last
    commits were cut off is an older snapshot, and equal.
    """
    loaded = load_product(product)
    verdicts: dict[str, Verdict] = {}
    with closing(Snapshots(loaded, resolve(load_settings()), to)) as snapshots:
        for topic in snapshots.contracts:
            with (
                keeping("nothing was decided, and nothing changed"),
                progress_bar(topic) as progress,
            ):
                verdicts[topic] = snapshots.verify(topic, progress, full=full)
            if form is Format.JSON:
                print(json.dumps(_fields(loaded.name, topic, verdicts[topic])), flush=True)
            else:
                _tell(topic, verdicts[topic])
    _raise_worst(verdicts)


def _fields(product: str, topic: str, verdict: Verdict) -> dict[str, object]:
    outcome = {"product": product, "topic": topic, "outcome": verdict.outcome}
    return {**outcome, **asdict(verdict)}


def _tell(topic: str, verdict: Verdict) -> None:
    commits = "1 commit" if verdict.commits == 1 else f"{verdict.commits:,} commits"
    print(
        f"{topic}: {verdict.outcome}; {commits}, {verdict.rows:,} rows recorded,"
        f" {verdict.sampled:,} records read by the row codec too"
    )
    for difference in verdict.differences:
        print(f"  {topic}{difference}")
    if hidden := verdict.difference_count - len(verdict.differences):
        print(f"  and {hidden:,} more")
    for reason in verdict.undecided:
        print(f"  cannot be decided: {reason}")


def _raise_worst(verdicts: dict[str, Verdict]) -> None:
    """A difference outweighs what cannot be decided."""
    different = [topic for topic, verdict in verdicts.items() if verdict.outcome == "different"]
    if different:
        raise DifferenceError(
            f"The snapshot of {', '.join(different)} is not its log; see the places above, and take"
            f" a new snapshot with --to."
        )
    undecided = [topic for topic, verdict in verdicts.items() if verdict.outcome == "unverifiable"]
    if undecided:
        raise UnverifiableError(
            f"The snapshot of {', '.join(undecided)} cannot be compared with its log;"
            f" see the reasons above."
        )
