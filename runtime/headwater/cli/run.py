"""`headwater run`: process one or many products, exactly once."""

import json
import sys
from contextlib import nullcontext
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import typer

from headwater.assembly.addresses import resolve
from headwater.assembly.project import load_product
from headwater.assembly.running import RunOptions, Summary, run_product
from headwater.assembly.supervisor import Supervisor
from headwater.cli.progress import progress_bar
from headwater.config import Settings, load_settings
from headwater.engine import Start
from headwater.errors import ConfigurationError, Problem
from headwater.observe.logs import configure_logs

MS: Final = 1000

app = typer.Typer(add_completion=False)


class Format(StrEnum):
    """How the summary is written."""

    TEXT = "text"
    JSON = "json"


Products = Annotated[
    list[str], typer.Argument(metavar="PRODUCT", help="Folders or names of products.")
]
UntilEnd = Annotated[
    bool, typer.Option("--until-end", help="Stop at the read_committed end of now.")
]
Register = Annotated[
    bool, typer.Option("--register", help="Publish the output contracts first (always in dev).")
]
From = Annotated[
    str | None,
    typer.Option(
        "--start",
        help="Where to begin when the group has no offsets: earliest, latest or an ISO time.",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the summary.")]


@app.command(
    epilog="Example: headwater run products/operations/departure_delays --until-end. "
    "Exit codes: 0 drained, 65 too many bad records, 69 broker or registry away, "
    "75 another process uses this id, 78 configuration or declaration."
)
def run(
    products: Products,
    until_end: UntilEnd = False,
    register: Register = False,
    start: From = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Process products until stopped (SIGTERM, Ctrl-C), or until the end of now.

    Several products run as one child process each.
    """
    settings = resolve(load_settings())
    configure_logs(form=settings.log_format, level=settings.log_level, secrets=settings.secrets())
    options = RunOptions(until_end, register, None if start is None else _start(start))
    if len(products) > 1:
        _run_many(products, sys.argv, settings)
        return
    loaded = load_product(products[0])
    with progress_bar(loaded.name) if until_end else nullcontext() as on_progress:
        summary = run_product(loaded, settings, options, on_progress)
    _print(summary, form)


def _run_many(products: list[str], arguments: list[str], settings: Settings) -> None:
    """One child per product, with the same options; a fixed metrics port counts up from child 1."""
    names = set(products)
    shared = [each for each in arguments[arguments.index("run") + 1 :] if each not in names]
    port = settings.metrics.port
    commands = {}
    for place, product in enumerate(dict.fromkeys(products)):
        environment = {"HEADWATER_METRICS__PORT": str(port + place)} if port else {}
        commands[product] = (["run", product, *shared], environment)
    Supervisor(commands).run()


def _start(text: str) -> Start:
    if text in {"earliest", "latest"}:
        return "earliest" if text == "earliest" else "latest"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(
            [
                Problem(
                    "BAD_VALUE",
                    f"--start {text}: write earliest, latest, or a time with its zone "
                    "such as 2026-01-31T00:00:00Z",
                )
            ]
        )
    return int(moment.timestamp() * MS)


def _print(summary: Summary, form: Format) -> None:
    rate = summary.read / summary.seconds if summary.seconds else 0.0
    if form is Format.JSON:
        print(
            json.dumps(
                {
                    "product": summary.product,
                    "read": summary.read,
                    "written": dict(summary.written),
                    "quarantined": {code.value: n for code, n in summary.codes.items()},
                    "transactions": summary.transactions,
                    "seconds": round(summary.seconds, 3),
                    "records_per_second": round(rate),
                }
            )
        )
        return
    written = ", ".join(f"{count:,} to {topic}" for topic, count in summary.written.items())
    bad = sum(summary.codes.values())
    print(
        f"{summary.product}: read {summary.read:,}, wrote {written or 'nothing'}, "
        f"{bad:,} to dead letters, {summary.transactions:,} transactions in "
        f"{summary.seconds:.1f} s ({rate:,.0f} records/s)"
    )
