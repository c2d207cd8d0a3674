"""Where broker and registry are: as set, else the stack of `headwater dev up` in this directory."""

from pathlib import Path
from typing import Final

from headwater import embedded
from headwater.config import Settings
from headwater.errors import ConfigurationError, Problem

BROKER: Final = "bootstrap.servers"
REGISTRY: Final = "url"


def resolve(settings: Settings, directory: Path | None = None) -> Settings:
    """The settings with both addresses filled in.

    An address that is not set is that of the stack running in `directory` (the working directory
    by default), unless the other one is set to another place. On that stack the environment is
    `dev` unless it is set otherwise.
    Raises ConfigurationError (NO_BROKER, NO_REGISTRY) when an address is nowhere to be found.
    """
    running = embedded.addresses(Path.cwd() if directory is None else directory)
    if running is not None:
        settings = _on_stack(settings, running)
    problems = []
    if BROKER not in settings.kafka:
        problems.append(_missing("NO_BROKER", "Kafka broker", "HEADWATER_KAFKA=host:port"))
    if REGISTRY not in settings.registry:
        problems.append(
            _missing("NO_REGISTRY", "schema registry", "HEADWATER_REGISTRY=http://host:port")
        )
    if problems:
        raise ConfigurationError(problems)
    return settings


def _on_stack(settings: Settings, running: embedded.Addresses) -> Settings:
    kafka, registry = {BROKER: running.kafka}, {REGISTRY: running.registry}
    set_kafka = settings.kafka.get(BROKER, running.kafka)
    set_registry = settings.registry.get(REGISTRY, running.registry)
    if (set_kafka, set_registry) != (running.kafka, running.registry):
        return settings  # another place is meant: half of this stack must not mix with it
    if "environment" in settings.model_fields_set:
        return settings.with_addresses(kafka, registry)
    return settings.with_addresses(kafka, registry, environment="dev")


def _missing(code: str, what: str, variable: str) -> Problem:
    return Problem(code, f"no {what} is set: run `headwater dev up` here, or set {variable}")
