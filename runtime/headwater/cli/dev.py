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
from headwater.cli.interruption import keeping
from headwater.cli.progress import StackProgress
from headwater.embedded import Addresses, ServiceStatus, stack

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="A real Kafka and schema registry on this machine, with data under .headwater/.",
    epilog="Example: headwater dev up && export $(headwater dev status --format env)",
)


class Format(StrEnum):
    """How the answer is written."""

    TEXT = "text"
    JSON = "json"
    ENV = "env"


class Answer(StrEnum):
    """How an answer without addresses is written."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print the answer.")]
AnswerOption = Annotated[Answer, typer.Option("--format", help="How to print the answer.")]
KafkaPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of Kafka; a free one by default.")
]
RegistryPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the registry; a free one by default.")
]


@app.command(epilog="Example: headwater dev up --kafka-port 9092")
def up(
    kafka_port: KafkaPort = None,
    registry_port: RegistryPort = None,
    form: FormatOption = Format.TEXT,
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


@app.command(epilog="Example: headwater dev down")
def down(form: AnswerOption = Answer.TEXT) -> None:
    """Stop exactly what `up` started here; the data stay in .headwater/."""
    with keeping("what is not stopped yet still runs, run it again to go on"):
        stopped = stack.down(stack_folder(Path.cwd()))
    if form is Answer.JSON:
        print(json.dumps({"stopped": stopped}))
    elif stopped:
        print(f"stopped {' and '.join(stopped)}; the data stay in .headwater/", file=sys.stderr)
    else:
        print("nothing runs here", file=sys.stderr)


@app.command(epilog="Example: export $(headwater dev status --format env)")
def status(form: FormatOption = Format.TEXT) -> None:
    """Print what runs here. Exit 0 when both services answer, 1 when not."""
    now = stack.status(stack_folder(Path.cwd()))
    both_answer = now.kafka.answers and now.registry.answers
    if form is Format.JSON:
        print(json.dumps(asdict(now), default=str))
    elif form is Format.TEXT:
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


def _print_addresses(addresses: Addresses, form: Format) -> None:
    match form:
        case Format.JSON:
            print(json.dumps(asdict(addresses)))
        case Format.ENV:
            print(f"HEADWATER_KAFKA={addresses.kafka}\nHEADWATER_REGISTRY={addresses.registry}")
        case Format.TEXT:
            print(f"kafka     {addresses.kafka}\nregistry  {addresses.registry}")
