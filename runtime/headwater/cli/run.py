"""`headwater run`: process one or many products, exactly once."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from headwater.assembly.gate import deprecations, today
from headwater.assembly.project import LoadedProduct, load_product, told
from headwater.assembly.running import RunOptions, Summary, run_product
from headwater.assembly.supervisor import Command, Supervisor
from headwater.assembly.workers import gathered, own_number
from headwater.cli.arguments import Format, FormatOption, Products
from headwater.cli.beginning import begin
from headwater.cli.progress import RunBars
from headwater.cli.words import counted
from headwater.clock import moment_ms
from headwater.config import Settings
from headwater.engine import OnIncompatible, Start
from headwater.errors import ConfigurationError, DeclarationError, Problem

app = typer.Typer(add_completion=False)


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
        metavar="TIME",
        help="Where to begin when the group has no offsets: earliest, latest, or a time with zone.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Processes per product, which share its partitions; at most as many as there are.",
    ),
]
Incompatible = Annotated[
    OnIncompatible | None,
    typer.Option(
        "--on-incompatible",
        help="What a record of a schema does that the contract can never read: pause its "
        "partition there (default), dead-letter the record, or stop the process.",
    ),
]


@app.command(
    epilog="Example: headwater run products/operations/departure_delays --until-end. "
    "Exit codes: 0 drained, 65 too many bad records or a halted partition, "
    "69 broker or registry away, 75 another process uses this id, 78 configuration or declaration, "
    "142 a step did not come back within the setting `step_timeout`."
)
def run(  # noqa: PLR0913, PLR0917  # one parameter per option
    products: Products,
    until_end: UntilEnd = False,
    register: Register = False,
    start: From = None,
    on_incompatible: Incompatible = None,
    workers: Workers = 1,
    form: FormatOption = Format.TEXT,
) -> None:
    """Process products until stopped (SIGTERM, Ctrl-C), or until the end of now.

    Several products, or several workers, run as one child process each; when one of them fails the
    others are drained, and the command exits with its code.
    """
    settings = begin()
    options = RunOptions(
        until_end, register, None if start is None else _start(start), on_incompatible
    )
    loaded = _loaded(products)
    if len(loaded) > 1 or workers > 1:
        _supervise(loaded, workers, _arguments(options, start, form), settings)
        return
    (product,) = loaded.values()
    for warning in deprecations(product.name, product.inputs.values(), today()):
        typer.echo(f"warning: {warning}", err=True)
    is_shown = until_end and own_number() is None  # a worker does not know how much is its part
    with RunBars(product.name, has_end=is_shown) as bars:
        summary = run_product(product, settings, options, bars.progressed, bars.restoring)
    _print(summary, form, until_end=until_end)


def _loaded(targets: Sequence[str]) -> dict[str, LoadedProduct]:
    """Each product once, by the first target that names it. Raises the mistakes of all at once."""
    found: dict[Path, tuple[str, LoadedProduct]] = {}
    problems: list[Problem] = []
    for target in targets:
        try:
            product = load_product(target)
        except DeclarationError as error:
            problems += error.problems
        else:
            found.setdefault(product.file.resolve(), (target, product))
    if problems:
        raise told(problems)
    return dict(found.values())


def _arguments(options: RunOptions, start: str | None, form: Format) -> list[str]:
    """The options of this command for its children, as they are written."""
    return [
        *(["--until-end"] if options.until_end else []),
        *(["--register"] if options.is_registering else []),
        *([] if start is None else ["--start", start]),
        *(
            []
            if options.on_incompatible is None
            else ["--on-incompatible", options.on_incompatible]
        ),
        *["--format", form],
    ]


def _supervise(
    loaded: Mapping[str, LoadedProduct], workers: int, shared: Sequence[str], settings: Settings
) -> None:
    """Run a child per product and worker, with the same options.

    Each product has an address of its own: a fixed metrics port counts up from the first one.
    """
    children: dict[str, Command] = {}
    with ExitStack() as serving:
        for place, (target, product) in enumerate(loaded.items()):
            port = settings.metrics.port + place if settings.metrics.port else 0
            arguments = ["run", *shared, "--", target]
            if workers == 1:
                children[target] = arguments, {"HEADWATER_METRICS__PORT": str(port)} if port else {}
                continue
            environments = serving.enter_context(gathered(product, workers, settings, port))
            for number, environment in enumerate(environments):
                children[f"{target} worker {number}"] = arguments, environment
        Supervisor(children).run()


def _start(text: str) -> Start:
    if text in {"earliest", "latest"}:
        return "earliest" if text == "earliest" else "latest"
    try:
        return moment_ms(text)
    except ValueError as error:
        advice = "write earliest, latest, or a time with its zone such as 2026-01-31T00:00:00Z"
        raise ConfigurationError([Problem("BAD_VALUE", f"--start {text}: {advice}")]) from error


def _print(summary: Summary, form: Format, *, until_end: bool) -> None:
    is_early = until_end and summary.was_stopped
    rate = summary.read / summary.seconds if summary.seconds else 0.0
    if form is Format.JSON:
        print(
            json.dumps(
                {
                    "product": summary.product,
                    **({} if summary.worker is None else {"worker": summary.worker}),
                    "read": summary.read,
                    "skipped": summary.skipped,
                    "late": dict(summary.late),
                    "duplicates": dict(summary.duplicates),
                    "written": dict(summary.written),
                    "quarantined": {code.value: n for code, n in summary.codes.items()},
                    "rules": [
                        {**asdict(rule), "records": n} for rule, n in summary.rules.most_common()
                    ],
                    "transactions": summary.transactions,
                    "seconds": round(summary.seconds, 3),
                    "records_per_second": round(rate),
                    "stopped_before_the_end": is_early,
                }
            )
        )
        return
    written = ", ".join(f"{count:,} to {topic}" for topic, count in summary.written.items())
    bad = sum(summary.codes.values())
    skipped = f", skipped {summary.skipped:,}" if summary.skipped else ""
    worker = "" if summary.worker is None else f" worker {summary.worker}"
    print(
        f"{summary.product}{worker}: read {summary.read:,}{skipped}, wrote {written or 'nothing'}, "
        f"{bad:,} to dead letters, {counted(summary.transactions, 'transaction')} in "
        f"{summary.seconds:.1f} s ({rate:,.0f} records/s)"
        f"{'; stopped before the end, the next run goes on' if is_early else ''}"
    )
    for step, count in summary.late.most_common():
        print(f"  {counted(count, 'row')} came late for {step} and went nowhere")
    for step, count in summary.duplicates.most_common():
        print(f"  {counted(count, 'row')} had come already for {step} and went nowhere")
    for broken, count in summary.rules.most_common():
        named = f"the rule {broken.rule} of {broken.topic} ({broken.severity})"
        print(f"  {counted(count, 'record')} broke {named}")
