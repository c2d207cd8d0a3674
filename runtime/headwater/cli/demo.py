"""`headwater demo`: real flights, to try Headwater with."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from headwater.assembly.addresses import BROKER, REGISTRY, resolve, stack_folder
from headwater.assembly.feed import PARTITIONS, Fed, FeedOptions
from headwater.assembly.feed import feed as run_feed
from headwater.assembly.root import SCHEMAS, project_root
from headwater.assembly.tour import Told, Visited, visit, ways_to_read
from headwater.cli.arguments import Format, FormatOption
from headwater.cli.interruption import keeping
from headwater.cli.progress import StackProgress, progress_bar
from headwater.cli.tables import show, table
from headwater.clock import SYSTEM
from headwater.config import Settings, load_settings
from headwater.embedded import stack
from headwater.embedded.home import NAME
from headwater.errors import DifferenceError, RegistrationRefusedError, StartRefusedError
from headwater.observe.logs import configure_logs

LIVE: Final = ".venv/bin/headwater run operations.departure-delays"
KEPT: Final = "what was done stays, the next run goes on"
STAYS_UP: Final = f"{KEPT}; Kafka and the registry stay up, `headwater dev down` stops them"

app = typer.Typer(
    add_completion=False,
    help="Real flights and weather, to try Headwater with.",
)


@app.callback(
    invoke_without_command=True,
    epilog="Example: headwater demo && headwater dev down. Exit codes: 0 done, 1 a snapshot differs"
    " from its log, 65 too many bad records or a halted partition, 69 broker or registry away or"
    " not to be started, 75 another process uses this id, 78 configuration or declaration, 142 a"
    " step did not come back within the setting `step_timeout`.",
)
def demo(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """Start Kafka and a registry, feed real flights, run two products, prove their snapshots.

    Run in a folder with products/ and schemas/. The stack stays up; what is done already is not
    done again.
    """
    if context.invoked_subcommand is not None:
        return
    began_s = SYSTEM.monotonic()
    given = load_settings()
    settings = _on_a_stack(given)
    configure_logs(form=settings.log_format, level="warning", secrets=settings.secrets())
    schemas = project_root(Path.cwd()) / SCHEMAS
    is_own = BROKER not in given.kafka
    with keeping(STAYS_UP if is_own else KEPT), _own_data() if is_own else nullcontext():
        with _step("feeding the flights of 2013"), progress_bar("feed") as tell:
            fed = list(run_feed(settings, schemas, FeedOptions(), tell))
        visited = [_told(each) for each in visit(settings, _step_bar)]
    if form is Format.JSON:
        print(json.dumps([_as_json(each) for each in visited]))
        return
    _print(fed)
    _print_products(visited)
    _print_ways(settings, began_s)


def _on_a_stack(settings: Settings) -> Settings:
    """The addresses that are set, else those of the stack of this folder, started when needed."""
    if BROKER not in settings.kafka and REGISTRY not in settings.registry:
        with keeping("what this command started is stopped again, run it again to go on"):
            stack.up(stack_folder(Path.cwd()), progress=StackProgress(Console(stderr=True)))
    return resolve(settings)


@contextmanager
def _own_data() -> Iterator[None]:
    """What other versions of the demo's products left in this folder is refused with a way out.

    A product keeps what it has; here nothing is lost that is not made again in a minute.
    """
    try:
        yield
    except (StartRefusedError, RegistrationRefusedError) as error:
        data = stack_folder(Path.cwd()) / NAME
        raise StartRefusedError(
            f"{str(error).rstrip('.')}. If it is an older demo that left this, run `headwater dev "
            f"down`, delete {data} (all data of this stack), and run the demo again.",
            code=error.code,
        ) from error


@contextmanager
def _step(text: str) -> Iterator[None]:
    print(f"{text} …", file=sys.stderr)
    yield


@contextmanager
def _step_bar(text: str) -> Iterator[Told]:
    with _step(text), progress_bar(text) as told:
        yield told


def _told(each: Visited) -> Visited:
    if each.verdict.outcome == "different":
        raise DifferenceError(
            f"the snapshot of {each.product} differs from its log; see "
            f"`headwater verify {each.product}`"
        )
    return each


def _as_json(each: Visited) -> dict[str, object]:
    fields = {name: value for name, value in asdict(each).items() if name != "verdict"}
    return {**fields, "verified": each.verdict.outcome}


def _print_products(visited: Sequence[Visited]) -> None:
    counts = ("read", "log", "dead", "records/s", "lag", "snapshot")
    made = table("product", *counts, "verified", numbers=counts)
    for each in visited:
        made.add_row(
            each.product,
            f"{each.read:,}",
            f"{each.records:,}",
            f"{each.dead_letters:,}",
            "-" if each.rate is None else f"{each.rate:,.0f}",
            f"{each.lag:,}",
            f"{each.snapshot_rows:,}",
            "yes" if each.verdict.outcome == "equal" else each.verdict.outcome,
        )
    show(made)


def _print_ways(settings: Settings, began_s: float) -> None:
    for title, command in ways_to_read(settings).items():
        print(f"# {title}\n{command}\n")
    print(f"# Run one for good, with metrics and probes on the address it prints\n{LIVE}\n")
    print(f"Done in {SYSTEM.monotonic() - began_s:.0f} s. Kafka and the registry stay up;")
    print("stop them with: .venv/bin/headwater dev down")


@app.command(
    epilog="Example: headwater demo feed --repeat 6. Exit codes: 0 done, 69 broker or registry"
    " away, 78 configuration, or a contract that does not fit."
)
def feed(
    repeat: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Copies of every departure, with distinct flight ids."
        ),
    ] = 1,
    partitions: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help=f"Partitions of topics that do not exist yet; {PARTITIONS}."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Append everything once more, whatever is there.")
    ] = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Feed the flights and the weather of New York in 2013 into Kafka.

    336,776 departures and 26,115 weather observations become logs in event-time order, and
    aircraft, airports and airlines become table topics; the schemas are registered.

    A record that is already there is left out: feeding twice changes nothing, feeding after an
    interruption completes, and a larger --repeat adds the copies that are missing.
    """
    settings = resolve(load_settings())
    options = FeedOptions(repeat=repeat, partitions=partitions, again=again)
    schemas = project_root(Path.cwd()) / SCHEMAS
    with keeping("what was fed stays, run it again to complete it"), progress_bar("feed") as tell:
        fed = list(run_feed(settings, schemas, options, tell))
    if form is Format.JSON:
        typer.echo(json.dumps([asdict(topic) for topic in fed], indent=2))
    else:
        _print(fed)


def _print(fed: Sequence[Fed]) -> None:
    counts = ("partitions", "records", "seconds")
    made = table("topic", *counts[:2], "state", "seconds", numbers=counts)
    for topic in fed:
        told = f"{topic.written:,} written" if topic.written else "already there"
        made.add_row(
            topic.topic, str(topic.partitions), f"{topic.records:,}", told, f"{topic.seconds:.1f}"
        )
    show(made)
