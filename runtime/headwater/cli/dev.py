"""`headwater dev`: a real Kafka and a real schema registry for this directory."""

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwater.assembly.addresses import stack_folder
from headwater.cli.arguments import Format, FormatOption
from headwater.cli.interruption import keeping
from headwater.cli.progress import StackProgress
from headwater.embedded import Addresses, ServiceStatus, stack

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="A real Kafka and schema registry on this machine, with data under .headwater/.",
    epilog="Example: headwater dev up && export $(headwater dev status --format env)",
)


class AddressFormat(StrEnum):
    """How addresses are written: `env` as lines that a shell can export."""

    TEXT = "text"
    JSON = "json"
    ENV = "env"


AddressOption = Annotated[
    AddressFormat, typer.Option("--format", help="How to print the answer; env for `export`.")
]
KafkaPort = Annotated[
    int | None,
    typer.Option(metavar="PORT", min=1, max=65535, help="Of Kafka; a free one by default."),
]
RegistryPort = Annotated[
    int | None,
    typer.Option(metavar="PORT", min=1, max=65535, help="Of the registry; a free one by default."),
]


@app.command(
    epilog="Example: headwater dev up --kafka-port 9092. Exit codes: 0 both answer,"
    " 69 a service does not come up or cannot be downloaded, 78 ports or folder."
)
def up(
    kafka_port: KafkaPort = None,
    registry_port: RegistryPort = None,
    form: AddressOption = AddressFormat.TEXT,
) -> None:
    """Start Kafka and the registry, wait until both answer, print their addresses."""
    progress = StackProgress(Console(stderr=True))
    with keeping("what this command started is stopped again, run it again to go on"):
        addresses = stack.up(
            stack_folder(Path.cwd()),
            kafka_port=kafka_port,
            registry_port=registry_port,
            progress=progress,
        )
    _print_addresses(addresses, form)


@app.command(
    epilog="Example: headwater dev down. Exit codes: 0 nothing runs here any more,"
    " 69 another command has the stack in hand."
)
def down(form: FormatOption = Format.TEXT) -> None:
    """Stop exactly what `up` started here; the data stay in .headwater/."""
    with keeping("what is not stopped yet still runs, run it again to go on"):
        stopped = stack.down(stack_folder(Path.cwd()))
    if form is Format.JSON:
        print(json.dumps({"stopped": stopped}))
    elif stopped:
        print(f"stopped {' and '.join(stopped)}; the data stay in .headwater/", file=sys.stderr)
    else:
        print("nothing runs here", file=sys.stderr)


@app.command(
    epilog="Example: export $(headwater dev status --format env)."
    " Exit codes: 0 both services answer, 1 one does not."
)
def status(form: AddressOption = AddressFormat.TEXT) -> None:
    """Print what runs here, and whether it answers."""
    now = stack.status(stack_folder(Path.cwd()))
    both_answer = now.kafka.answers and now.registry.answers
    if form is AddressFormat.JSON:
        print(json.dumps(asdict(now), default=str))
    elif form is AddressFormat.TEXT:
        for name, service in (("kafka", now.kafka), ("registry", now.registry)):
            print(f"{name:9} {_sentence(service)}")
    elif now.kafka.address and now.registry.address:
        _print_addresses(Addresses(kafka=now.kafka.address, registry=now.registry.address), form)
    if not both_answer:
        raise typer.Exit(1)


def _sentence(service: ServiceStatus) -> str:
    if not service.running:
        return "does not run; `headwater dev up` starts it"
    state = "answers" if service.answers else "runs but does not answer"
    return f"{service.address}  {state}  pid {service.pid}  log {service.log}"


def _print_addresses(addresses: Addresses, form: AddressFormat) -> None:
    match form:
        case AddressFormat.JSON:
            print(json.dumps(asdict(addresses)))
        case AddressFormat.ENV:
            print(f"HEADWATER_KAFKA={addresses.kafka}\nHEADWATER_REGISTRY={addresses.registry}")
        case AddressFormat.TEXT:
            print(f"kafka     {addresses.kafka}\nregistry  {addresses.registry}")
