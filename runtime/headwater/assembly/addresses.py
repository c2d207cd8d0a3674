"""Where broker and registry are: as set, else the stack of `headwater dev up` around here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headwater import embedded
from headwater.assembly.root import find_root
from headwater.config import Settings
from headwater.errors import ConfigurationError, HeadwaterError, Problem

BROKER: Final = "bootstrap.servers"
REGISTRY: Final = "url"


@dataclass(frozen=True, slots=True)
class _Address:
    code: str
    name: str
    variable: str
    other: str


KAFKA: Final = _Address("NO_BROKER", "Kafka broker", "HEADWATER_KAFKA=host:port", "schema registry")
SCHEMAS: Final = _Address(
    "NO_REGISTRY", "schema registry", "HEADWATER_REGISTRY=http://host:port", "Kafka broker"
)


def stack_folder(start: Path) -> Path:
    """The folder whose `.headwater/` holds the stack: `start`, else the root of its project.

    `start` itself when neither ever had one: that is where one begins.
    """
    root = find_root(start)
    places = (start,) if root is None else (start, root)
    return next((place for place in places if embedded.is_known(place)), start)


def resolve(settings: Settings, directory: Path | None = None) -> Settings:
    """The settings with both addresses filled in.

    Addresses that are not set are those of the stack of `directory` (the working directory by
    default) or of its project, unless one of them is set to another place. On that stack the
    environment is `dev` unless it is set otherwise.
    Raises ConfigurationError (NO_BROKER, NO_REGISTRY) when an address is nowhere to be found; and
    when none is set what `embedded.addresses` raises for a stack that is broken or half down.
    """
    running = _stack(settings, Path.cwd() if directory is None else directory)
    if running is not None:
        settings = _on_stack(settings, running)
    problems = []
    if BROKER not in settings.kafka:
        problems.append(_missing(KAFKA, beside=REGISTRY in settings.registry))
    if REGISTRY not in settings.registry:
        problems.append(_missing(SCHEMAS, beside=BROKER in settings.kafka))
    if problems:
        raise ConfigurationError(problems)
    return settings


def _stack(settings: Settings, directory: Path) -> embedded.Addresses | None:
    try:
        return embedded.addresses(stack_folder(directory))
    except HeadwaterError:
        if BROKER not in settings.kafka and REGISTRY not in settings.registry:
            raise
        return None  # another place is meant: a stack out of order here does not matter


def _on_stack(settings: Settings, running: embedded.Addresses) -> Settings:
    kafka, registry = {BROKER: running.kafka}, {REGISTRY: running.registry}
    set_kafka = settings.kafka.get(BROKER, running.kafka)
    set_registry = settings.registry.get(REGISTRY, running.registry)
    if (set_kafka, set_registry) != (running.kafka, running.registry):
        return settings  # another place is meant: half of this stack must not mix with it
    if "environment" in settings.model_fields_set:
        return settings.with_addresses(kafka, registry)
    return settings.with_addresses(kafka, registry, environment="dev")


def _missing(what: _Address, *, beside: bool) -> Problem:
    """`beside`: the other address is set, so that the stack of this folder is not meant."""
    if not beside:
        hint = f"run `headwater dev up` here, or set {what.variable}"
        return Problem(what.code, f"no {what.name} is set: {hint}")
    return Problem(
        what.code,
        f"no {what.name} is set, but a {what.other} is: set {what.variable} too, because half of"
        " the stack of `headwater dev up` is never mixed with another place",
    )
