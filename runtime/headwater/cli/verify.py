"""`headwater verify`: prove that a product's snapshots equal its logs."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from headwater.assembly.addresses import resolve
from headwater.assembly.arenas import limit_arenas
from headwater.assembly.collection import rare_collections
from headwater.assembly.diff import outside
from headwater.assembly.project import LoadedProduct, load_product
from headwater.assembly.recomputation import Recomputation
from headwater.assembly.snapshots import Snapshots
from headwater.cli.arguments import Format, FormatOption, Product, Tables
from headwater.cli.interruption import keeping
from headwater.cli.progress import progress_bar
from headwater.cli.words import counted
from headwater.config import load_settings
from headwater.errors import ConfigurationError, DifferenceError, Problem, UnverifiableError
from headwater.snapshot.verdict import Verdict

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: headwater verify operations.departure-delays --full."
    " Exit codes: 0 equal, 1 different or damaged, 2 cannot be decided, or there is no such cut,"
    " 69 broker, registry or storage away, 78 configuration or declaration."
)
def verify(  # noqa: PLR0913, PLR0917  # one parameter per option
    product: Product,
    cut: Annotated[
        str | None,
        typer.Option(
            metavar="CUT",
            help="As of a table version, a commit id or a time, not the newest version.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every cut that the table still keeps, one by one.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Read every record with the row codec too, not 1 %.")
    ] = False,
    source: Annotated[
        bool,
        typer.Option(
            "--against-source",
            help="The logs with what the inputs make today; the tables are not looked at.",
        ),
    ] = False,
    to: Tables = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Prove that what a product's snapshots hold equals its logs, row for row.

    Reads the log of every commit again, and every row of every file of the table, and compares both
    with what the commit recorded: number of rows and hash per partition. A difference names
    partition and offset; a file or record that cannot be read is a difference. Rows whose records
    the log does not hold any more are counted, and never taken for right.

    With --against-source, records of the inputs are processed again by today's definition, and what
    comes out is compared with the logs, of steps with state too; only where nothing is joined and
    no key changes, because elsewhere the results hang on more than the order of a partition.

    It proves what the table holds, not that the table is the newest there was: one whose last
    commits were cut off is an older snapshot, and equal.
    """
    _require_one(**{"--cut": cut is not None, "--all": every, "--against-source": source})
    loaded = load_product(product)
    if source:
        _recompute(loaded, form)
        return
    verdicts: dict[str, list[Verdict]] = {}
    limit_arenas()
    with rare_collections(), closing(Snapshots(loaded, resolve(load_settings()), to)) as snapshots:
        for topic in snapshots.contracts:
            with (
                keeping("nothing was decided, and nothing changed"),
                progress_bar(topic) as progress,
            ):
                verdicts[topic] = (
                    snapshots.verify_all(topic, progress, full=full)
                    if every
                    else [snapshots.verify(topic, progress, full=full, at=cut)]
                )
            _tell(form, loaded.name, topic, verdicts[topic])
    _raise_worst(verdicts)


def _require_one(**given: bool) -> None:
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        text = f"{' and '.join(names)} ask for different proofs; give one of them"
        raise ConfigurationError([Problem("BAD_VALUE", text)])


def _recompute(loaded: LoadedProduct, form: Format) -> None:
    with (
        outside(resolve(load_settings())) as read_from,
        keeping("nothing was decided, and nothing changed"),
        progress_bar(loaded.name) as progress,
    ):
        verdicts = Recomputation(loaded, read_from).run(progress)
    for verdict in verdicts:
        if form is Format.JSON:
            print(
                json.dumps({"product": loaded.name, "outcome": verdict.outcome} | asdict(verdict))
            )
            continue
        print(
            f"{verdict.topic}: {verdict.outcome}; {verdict.recomputed:,} rows made of the inputs,"
            f" {verdict.logged:,} in the log"
        )
        if verdict.left_out:
            told = counted(verdict.left_out, "record")
            print(f"  {told} of the inputs left out: set aside or skipped, and never taken since")
        for line in (*verdict.differences, *(f"cannot be decided: {r}" for r in verdict.undecided)):
            print(f"  {line}")
        if hidden := verdict.difference_count - len(verdict.differences):
            print(f"  and {hidden:,} more")
    different = [each.topic for each in verdicts if each.outcome == "different"]
    if different:
        raise DifferenceError(
            f"The log of {', '.join(different)} is not what its inputs make today; see the places"
            f" above. Where the definition changed since, publish to a new topic or keep both."
        )
    if undecided := [each.topic for each in verdicts if each.outcome == "unverifiable"]:
        raise UnverifiableError(
            f"The log of {', '.join(undecided)} cannot be compared with its inputs in full; see the"
            f" reasons above."
        )


def _tell(form: Format, product: str, topic: str, verdicts: Sequence[Verdict]) -> None:
    if form is Format.JSON:
        for verdict in verdicts:
            outcome = {"product": product, "topic": topic, "outcome": verdict.outcome}
            print(json.dumps(outcome | asdict(verdict)), flush=True)
        return
    told: set[str] = set()
    for verdict in verdicts:
        print(_headline(topic, verdict))
        told.update(_details(topic, verdict, told))


def _headline(topic: str, verdict: Verdict) -> str:
    commits = "1 commit" if verdict.commits == 1 else f"{verdict.commits:,} commits"
    version = "" if verdict.version is None else f" up to version {verdict.version}"
    return (
        f"{topic}: {verdict.outcome}; {commits}{version}, {verdict.rows:,} rows recorded,"
        f" {verdict.sampled:,} records read by the row codec too"
    )


def _details(topic: str, verdict: Verdict, told: Collection[str]) -> list[str]:
    """Print what stands in no verdict before; returns it."""
    lines = [f"{topic}{difference}" for difference in verdict.differences]
    lines += [f"cannot be decided: {reason}" for reason in verdict.undecided]
    news = [line for line in lines if line not in told]
    for line in news:
        print(f"  {line}")
    if again := len(lines) - len(news):
        print(f"  and {again:,} as told above")
    if hidden := verdict.difference_count - len(verdict.differences):
        print(f"  and {hidden:,} more")
    return news


def _raise_worst(verdicts: Mapping[str, Sequence[Verdict]]) -> None:
    """A difference outweighs what cannot be decided; of many cuts, some may be gone."""
    outcomes = {
        topic: {each.outcome for each in found} - ({"not kept"} if len(found) > 1 else set())
        for topic, found in verdicts.items()
    }
    different = [topic for topic, found in outcomes.items() if "different" in found]
    if different:
        raise DifferenceError(
            f"The snapshot of {', '.join(different)} is not its log; see the places above, and take"
            f" a new snapshot with --to."
        )
    undecided = [topic for topic, found in outcomes.items() if found - {"equal"}]
    if undecided:
        raise UnverifiableError(
            f"The snapshot of {', '.join(undecided)} cannot be compared with its log;"
            f" see the reasons above."
        )
