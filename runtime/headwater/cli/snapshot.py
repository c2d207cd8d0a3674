"""`headwater snapshot`: cut columnar snapshots out of a product's logs."""

import json
import signal
import sys
import threading
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from headwater.assembly.addresses import resolve
from headwater.assembly.project import LoadedProduct, load_product
from headwater.assembly.snapshots import Snapshots
from headwater.cli.progress import progress_bar
from headwater.config import load_settings, parse_duration
from headwater.errors import AbortableError, ConfigurationError, Problem, RetriableError
from headwater.snapshot.writer import Taken

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

app = typer.Typer()


class Format(StrEnum):
    """How the result is written."""

    TEXT = "text"
    JSON = "json"


@app.command(
    epilog="Example: headwater snapshot operations.departure-delays --every 15m."
    " Exit codes: 0 done, 69 broker, registry or storage away, 70 another process was first or the"
    " log holds a record that cannot be read, 78 configuration, declaration, or a log that no"
    " longer fits the snapshot."
)
def snapshot(
    product: Annotated[str, typer.Argument(help="Name or folder of a product.")],
    every: Annotated[
        str | None, typer.Option(help="Go on, and take one so often: 90s, 15m, 1h.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="Directory for the tables, one per topic; by default the setting."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TEXT,
) -> None:
    """Append what a product published since its last snapshot to its Delta table.

    Each snapshot ends at the read_committed end of the log at that moment. A long stretch becomes
    several commits, each a cut of its own: an interruption leaves a whole snapshot, and the next
    run goes on from there. Nothing new, no commit.
    """
    interval_s = None if every is None else _seconds(every)
    loaded = load_product(product)
    with Snapshots(loaded, resolve(load_settings()), to) as snapshots:
        if interval_s is None:
            _take_all(snapshots, loaded, form)
        else:
            _keep_taking(snapshots, loaded, form, interval_s)


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text).total_seconds()
    except ValueError as error:
        raise ConfigurationError([Problem("BAD_VALUE", f"--every {text}: {error}")]) from error
    if seconds <= 0:
        raise ConfigurationError([Problem("BAD_VALUE", f"--every {text}: write more than nothing")])
    return seconds


def _keep_taking(
    snapshots: Snapshots, loaded: LoadedProduct, form: Format, interval_s: float
) -> None:
    """Until a stop signal; a snapshot under way is finished first."""
    stopped = threading.Event()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stopped.set())
    while not stopped.is_set():
        try:
            _take_all(snapshots, loaded, form)
        except (AbortableError, RetriableError) as error:
            # Nothing is lost: the next turn continues where the table ends.
            print(f"{error.code}: {error}", file=sys.stderr)
        stopped.wait(interval_s)


def _take_all(snapshots: Snapshots, loaded: LoadedProduct, form: Format) -> None:
    for topic in snapshots.contracts:
        with progress_bar(topic) as progress:
            taken = snapshots.take(topic, progress)
        if form is Format.JSON:
            print(json.dumps({"product": loaded.name, "topic": topic, **asdict(taken)}), flush=True)
        else:
            print(_sentence(topic, taken), flush=True)


def _sentence(topic: str, taken: Taken) -> str:
    cut = " ".join(f"[{partition}]@{offset}" for partition, offset in sorted(taken.cut.items()))
    if taken.version is None:
        return f"{topic}: nothing new; {taken.rows_total:,} rows in {taken.location}, cut {cut}"
    commits = "1 commit" if taken.commits == 1 else f"{taken.commits} commits"
    return (
        f"{topic}: {taken.rows:,} rows more in {commits}; {taken.rows_total:,} rows in"
        f" {taken.location}, version {taken.version}, cut {cut}"
    )
