"""Up, down, status: the two services of one directory, at most once at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headwater.embedded.artefacts import SILENT, Progress, install
from headwater.embedded.home import Home, stop, told_when_broken
from headwater.embedded.services import Broker, SchemaRegistry, Service
from headwater.embedded.start import Start
from headwater.errors import ConfigurationError, Problem, UnavailableError


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
    """The addresses of the stack of `directory`; None when none of its processes runs.

    Reads two small files and asks no service, so every command can afford it.
    Raises UnavailableError (STACK_DOWN) when one of the two runs without the other,
    ConfigurationError (STACK_BROKEN) when the files of the stack cannot be read.
    """
    home = Home.within(directory)
    kafka, registry = home.running(Broker.name), home.running(SchemaRegistry.name)
    if kafka is None and registry is None:
        return None
    if kafka is None or registry is None:
        gone, there = (Broker, SchemaRegistry) if kafka is None else (SchemaRegistry, Broker)
        raise UnavailableError(
            f"{gone.title} of the stack in {home.root} does not run, {there.title} does:"
            " `headwater dev up` starts what is missing",
            code="STACK_DOWN",
        )
    return Addresses(Broker.address(kafka.port), SchemaRegistry.address(registry.port))


def is_known(directory: Path) -> bool:
    """Whether a stack was ever started in `directory`, be its files whole or not."""
    home = Home.within(directory)
    paths = (home.record_path(kind.name) for kind in (Broker, SchemaRegistry))
    with told_when_broken(home.root):
        return home.root.is_file() or any(path.exists() for path in paths)


def status(directory: Path) -> Status:
    """What runs for `directory`, and whether it answers now.

    Raises ConfigurationError (STACK_BROKEN) when the files of the stack cannot be read.
    """
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
    call started is stopped again. Raises ConfigurationError when the extra `dev` is missing or the
    directory is not as it must be (STACK_BROKEN).
    """
    programs = install(progress)
    home = Home.within(directory)
    with home.locked(), told_when_broken(home.root):
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


def down(directory: Path) -> tuple[str, ...]:
    """Stop what `up` started for `directory`, and nothing else; its data stay.

    Returns the names of the services that ran. What can be stopped is stopped before a mistake is
    told: ConfigurationError (STACK_BROKEN) for a record that names no process, UnavailableError
    (STACK_STUCK) for a process that does not end.
    """
    home = Home.within(directory)
    if not home.root.exists():
        return ()
    stopped: list[str] = []
    problems: list[Problem] = []
    with home.locked():
        # the registry first: nobody should find a registry without a log
        for kind in (SchemaRegistry, Broker):
            try:
                record = home.running(kind.name)
            except ConfigurationError as error:
                problems += error.problems
                continue
            if record is not None:
                stop(record, kind.title)
                stopped.append(kind.name)
    if problems:
        raise ConfigurationError(problems)
    return tuple(stopped)
