"""`headwater snapshot`: cut columnar snapshots out of a product's logs."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from typing import Annotated, Final

import typer

from headwater.assembly.arenas import limit_arenas
from headwater.assembly.collection import rare_collections
from headwater.assembly.project import LoadedProduct, load_product
from headwater.assembly.snapshot_modes import declared_interval_s
from headwater.assembly.snapshot_schedule import Schedule, Told
from headwater.assembly.snapshots import Snapshots
from headwater.cli.arguments import Format, FormatOption, Product, Tables
from headwater.cli.beginning import begin
from headwater.cli.interruption import keeping
from headwater.cli.main import report
from headwater.cli.progress import progress_bar
from headwater.config import parse_duration
from headwater.errors import ConfigurationError, HeadwaterError, Problem
from headwater.ports import DaysClosed
from headwater.snapshot.upkeep import Upkept
from headwater.snapshot.writer import Taken

DECLARED: Final = "declared"
KEPT: Final = "what was committed stays a whole snapshot, the next run goes on from there"

SHOWN: Final = 10  # corrected days in a sentence; --format json has all of them

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: headwater snapshot operations.departure-delays --every 15m."
    " Exit codes: 0 done, 69 broker, registry or storage away, 70 the log holds a record that"
    " cannot be read, 75 another process was first, 78 configuration, declaration, or a log or"
    " contract that no longer fits the snapshot."
)
def snapshot(
    product: Product,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Go on, and take one so often: 90s, 15m, 1h, or `declared`: as the product says.",
        ),
    ] = None,
    verify_every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="With --every: also compare table and log so often, and after the first snapshot.",
        ),
    ] = None,
    to: Tables = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Take what a product published since its last snapshot into its table.

    Each snapshot ends at the read_committed end of the log at that moment. The product declares the
    mode: "append" adds the rows, and a long stretch becomes several commits, each a cut of its own;
    "latest" replaces the rows of keys that changed, in one commit; "daily" adds the rows when a day
    of event time is over on all partitions of the inputs, and tells which days it closed. An
    interruption leaves a whole snapshot, and the next run goes on from there. Nothing new, no
    commit.

    Each commit is announced on the topic `_headwater.snapshots`, where readers find the table; a
    table of --to is a copy, of which nobody is told. Every 20 versions, or once a day, small files
    are merged then, and what is older than the product keeps is removed. A notice or an upkeep that
    fails is told and changes no exit code: the snapshot stands, and the next run makes up for it.
    """
    if verify_every is not None and every is None:
        text = "--verify-every goes with --every; once is `headwater verify`"
        raise ConfigurationError([Problem("USAGE", text)])
    verify_every_s = None if verify_every is None else _seconds("--verify-every", verify_every)
    loaded = load_product(product)
    interval_s = None if every is None else _interval_s(every, loaded)
    settings = begin()
    limit_arenas()
    with rare_collections(), closing(Snapshots(loaded, settings, to)) as snapshots:
        if interval_s is not None:
            told = Told(
                partial(_tell, form, loaded.name), partial(_tell_upkept, form, loaded.name), report
            )
            Schedule(snapshots, interval_s, told, verify_every_s=verify_every_s).run(settings)
            return
        for topic in snapshots.contracts:
            with keeping(KEPT), progress_bar(topic) as progress:
                taken = snapshots.take(topic, progress)
            _tell(form, loaded.name, topic, taken)
            with _only_told():
                snapshots.announce(topic)
        for topic in snapshots.contracts:
            with _only_told(), keeping(KEPT):
                if (done := snapshots.keep_up(topic, beat=lambda: None)) is not None:
                    _tell_upkept(form, loaded.name, topic, done)


@contextmanager
def _only_told() -> Iterator[None]:
    """What fails in this block is told and no more: the snapshot is whole, the next run does it."""
    try:
        yield
    except HeadwaterError as error:
        report(error)


def _seconds(option: str, text: str) -> float:
    try:
        seconds = parse_duration(text).total_seconds()
    except ValueError as error:
        raise ConfigurationError([Problem("BAD_VALUE", f"{option} {text}: {error}")]) from error
    if seconds <= 0:
        text = f"{option} {text}: write more than nothing"
        raise ConfigurationError([Problem("BAD_VALUE", text)])
    return seconds


def _interval_s(every: str, loaded: LoadedProduct) -> float:
    if every == DECLARED:
        return declared_interval_s(loaded.product, str(loaded.file))
    return _seconds("--every", every)


def _tell(form: Format, product: str, topic: str, taken: Taken) -> None:
    if form is Format.JSON:
        print(json.dumps({"product": product, "topic": topic, **asdict(taken)}), flush=True)
    else:
        print(_taken(topic, taken), flush=True)


def _tell_upkept(form: Format, product: str, topic: str, done: Upkept) -> None:
    if form is Format.JSON:
        found = {"product": product, "topic": topic, "upkeep": asdict(done)}
        print(json.dumps(found), flush=True)
    elif phrases := list(_upkept(done)):
        print(f"{topic}: {'; '.join(phrases)}", flush=True)


def _upkept(done: Upkept) -> Iterator[str]:
    """What upkeep did, as far as it did something."""
    if done.merged:
        yield f"{done.merged:,} files merged into {done.into:,}"
    if (swept := done.swept) is None:
        yield "another process is at upkeep"
    elif swept.files:
        size = f"{swept.bytes / 1_000_000:,.1f} MB"
        yield f"{swept.files:,} files that nobody needs removed, {size}"


def _taken(topic: str, taken: Taken) -> str:
    cut = " ".join(f"[{partition}]@{offset}" for partition, offset in sorted(taken.cut.items()))
    if taken.version is None:
        news = "nothing new" if taken.days is None else "no day to close"
        return f"{topic}: {news}; {taken.rows_total:,} rows in {taken.location}, cut {cut}"
    commits = "1 commit" if taken.commits == 1 else f"{taken.commits} commits"
    return (
        f"{topic}: {taken.rows:,} rows taken in {commits}; {taken.rows_total:,} rows in"
        f" {taken.location}, version {taken.version}, cut {cut}{_days(taken.days)}"
    )


def _days(days: DaysClosed | None) -> str:
    """What a run closed and corrected, in words."""
    if days is None:
        return ""
    closed = f"; closed all days before {days.before}" if days.before else ""
    if closed and days.is_assumed:
        closed += " (assumed: an input partition is idle)"
    late = sum(days.corrected.values())
    told = ", ".join(f"{day}: {rows:,}" for day, rows in sorted(days.corrected.items())[:SHOWN])
    more = ", ..." if len(days.corrected) > SHOWN else ""
    return f"{closed}; {late:,} rows of days closed before ({told}{more})" if late else closed
