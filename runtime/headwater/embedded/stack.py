"""Up, down, status: the two services of one directory, at most once at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headwater.embedded import process
from headwater.embedded.artefacts import SILENT, Progress, install
from headwater.embedded.home import Home
from headwater.embedded.services import Broker, SchemaRegistry, Service
from headwater.embedded.start import Start


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the stack listens: `kafka` as host:port, `registry` as URL."""

    kafka: str
    registry: str


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service as it stands; `pid` and `address` are None when it does not run."""

    running: bool
    answers: bool
    pid: int | None
    address: str | None
    log: Path


@dataclass(frozen=True, slots=True)
class Status:
    """Both services of a directory."""

    kafka: ServiceStatus
    registry: ServiceStatus


def addresses(directory: Path) -> Addresses | None:
    """The addresses of the stack of `directory`; None unless both of its processes run.

    Reads two small files and asks no service, so every command can afford it.
    """
    home = Home.within(directory)
    kafka, registry = home.running(Broker.name), home.running(SchemaRegistry.name)
    if kafka is None or registry is None:
        return None
    return Addresses(Broker.address(kafka.port), SchemaRegistry.address(registry.port))


def status(directory: Path) -> Status:
    """What runs for `directory`, and whether it answers now."""
    home = Home.within(directory)
    return Status(
        kafka=_service_status(home, Broker), registry=_service_status(home, SchemaRegistry)
    )


def _service_status(home: Home, kind: type[Service]) -> ServiceStatus:
    record = home.running(kind.name)
    log = home.log(kind.name)
    if record is None:
        return ServiceStatus(running=False, answers=False, pid=None, address=None, log=log)
    return ServiceStatus(
        running=True,
        answers=kind.answers(record.port),
        pid=record.pid,
        address=kind.address(record.port),
        log=log,
    )


def up(
    directory: Path,
    *,
    kafka_port: int | None = None,
    registry_port: int | None = None,
    progress: Progress = SILENT,
) -> Addresses:
    """Start what does not run yet and wait until both services answer.

    Without a port the last one is used again if it is free, else any free one.
    Raises UnavailableError when a port is taken, a download or a start fails: then whatever this
    call started is stopped again. Raises ConfigurationError when the extra `dev` is missing.
    """
    programs = install(progress)
    home = Home.within(directory)
    with home.locked():
        kafka = Start(home, Broker(programs), wanted_port=kafka_port)
        registry = Start(home, SchemaRegistry(programs), wanted_port=registry_port)
        with _undone_on_failure([kafka, registry]):
            kafka.begin(progress)
            registry.begin(progress)
            kafka.finish(progress)
            registry.finish(progress)
    return Addresses(Broker.address(kafka.port), SchemaRegistry.address(registry.port))


@contextmanager
def _undone_on_failure(starts: Sequence[Start]) -> Iterator[None]:
    """Leave no half a stack behind, also when the person presses Ctrl-C."""
    try:
        yield
    except BaseException:
        for start in starts:
            start.abandon()
        raise


def down(directory: Path) -> None:
    """Stop what `up` started for `directory`, and nothing else; its data stay."""
    home = Home.within(directory)
    if not home.root.is_dir():
        return
    with home.locked():
        # the registry first: nobody should find a registry without a log
        for kind in (SchemaRegistry, Broker):
            record = home.running(kind.name)
            if record is not None:
                process.stop(record)
