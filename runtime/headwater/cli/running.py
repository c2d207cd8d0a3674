"""What `headwater run` does: one product in this process, or several under a supervisor."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from headwater.assembly.gate import deprecations, today
from headwater.assembly.project import LoadedProduct, load_product, told
from headwater.assembly.running import RunOptions, Summary, run_product
from headwater.assembly.snapshot_modes import declared_interval_s
from headwater.assembly.supervisor import Command, Supervisor
from headwater.assembly.workers import gathered, own_number
from headwater.cli.arguments import Format
from headwater.cli.beginning import begin
from headwater.cli.progress import RunBars
from headwater.cli.words import counted
from headwater.clock import moment_ms
from headwater.config import Settings
from headwater.engine import Start
from headwater.errors import ConfigurationError, DeclarationError, Problem
from headwater.model import OnIncompatible


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed, as `headwater run --help` explains it."""

    products: Sequence[str]
    until_end: bool
    register: bool
    start: str | None
    on_incompatible: OnIncompatible | None
    workers: int
    with_snapshots: bool
    form: Format


def run(asked: Asked) -> None:
    """Run the products, one in this process, several of them or of its workers as children."""
    settings = begin()
    options = RunOptions(
        asked.until_end,
        asked.register,
        None if asked.start is None else _start(asked.start),
        asked.on_incompatible,
    )
    loaded = _loaded(asked.products)
    if asked.with_snapshots:
        _require_snapshots(asked, loaded)
    if len(loaded) > 1 or asked.workers > 1 or asked.with_snapshots:
        _supervise(loaded, asked, _arguments(options, asked.start, asked.form), settings)
        return
    (product,) = loaded.values()
    for warning in deprecations(product.name, product.inputs.values(), today()):
        typer.echo(f"warning: {warning}", err=True)
    # a worker does not know how much is its part
    is_shown = asked.until_end and own_number() is None
    with RunBars(product.name, has_end=is_shown) as bars:
        summary = run_product(product, settings, options, bars.progressed, bars.restoring)
    print_summary(summary, asked.form, until_end=asked.until_end)


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


def _require_snapshots(asked: Asked, loaded: Mapping[str, LoadedProduct]) -> None:
    """Raises ConfigurationError (USAGE) with an end, DeclarationError (NO_SNAPSHOT_POLICY)."""
    if asked.until_end:
        text = (
            "--with-snapshots goes on with the run, and --until-end ends it; run first, then take"
            " one with `headwater snapshot`"
        )
        raise ConfigurationError([Problem("USAGE", text)])
    for product in loaded.values():
        declared_interval_s(product.product, str(product.file))


def _supervise(
    loaded: Mapping[str, LoadedProduct], asked: Asked, shared: Sequence[str], settings: Settings
) -> None:
    """Run a child per product and worker, with the same options, and one for its snapshots.

    Each has an address of its own: a fixed metrics port counts up, products before snapshots.
    """
    workers = asked.workers
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
        beside = _snapshots(loaded, asked.form, settings) if asked.with_snapshots else {}
        Supervisor(children, beside).run()


def _snapshots(
    loaded: Mapping[str, LoadedProduct], form: Format, settings: Settings
) -> dict[str, Command]:
    """A child per product that takes its snapshots; their ports follow those of the products."""
    children: dict[str, Command] = {}
    for place, (target, product) in enumerate(loaded.items(), start=len(loaded)):
        arguments = ["snapshot", "--every", "declared", "--format", form, "--", target]
        children[f"{target} snapshots"] = arguments, _own_address(settings, place, product.name)
    return children


def _own_address(settings: Settings, place: int, name: str) -> Mapping[str, str]:
    """The environment of a child that serves beside others; port 0 is a free one anyway."""
    if settings.metrics.host.startswith("/"):  # a Unix socket
        return {"HEADWATER_METRICS__HOST": f"{settings.metrics.host}.{name}.snapshots"}
    port = settings.metrics.port
    return {"HEADWATER_METRICS__PORT": str(port + place)} if port else {}


def _start(text: str) -> Start:
    if text in {"earliest", "latest"}:
        return "earliest" if text == "earliest" else "latest"
    try:
        return moment_ms(text)
    except ValueError as error:
        advice = "write earliest, latest, or a time with its zone such as 2026-01-31T00:00:00Z"
        raise ConfigurationError([Problem("BAD_VALUE", f"--start {text}: {advice}")]) from error


def print_summary(summary: Summary, form: Format, *, until_end: bool) -> None:
    """What a run did, in words or as a line of JSON; with `until_end` also whether it got there."""
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
                    "unordered": dict(summary.unordered),
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
    for step, count in summary.unordered.most_common():
        print(f"  {counted(count, 'row')} had nothing for {step} to order by and went nowhere")
    for broken, count in summary.rules.most_common():
        named = f"the rule {broken.rule} of {broken.topic} ({broken.severity})"
        print(f"  {counted(count, 'record')} broke {named}")
