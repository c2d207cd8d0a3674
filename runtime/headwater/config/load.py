"""`load_settings`: the environment first, then `headwater.toml`; every mistake at once."""

import difflib
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from headwater.config.locations import is_bucket
from headwater.config.rules import (
    kafka_problems,
    registry_problems,
    step_problem,
    timeout_problems,
)
from headwater.config.settings import Settings
from headwater.config.sources import (
    CLIENTS,
    FILE_NAME,
    Key,
    Place,
    Source,
    environment_source,
    file_source,
)
from headwater.errors import ConfigurationError, Problem
from headwater.redaction import is_secret

FILE_SUFFIX: Final = ".file"  # sasl.password.file names a file that holds sasl.password
MAX_SECRET_BYTES: Final = 64 * 1024  # a key with its chain fits; a wrong path is noticed


def load_settings(
    directory: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings of a process started in `directory` (the working directory by default).

    Raises ConfigurationError with every problem found.
    """
    directory = Path.cwd() if directory is None else directory
    environment = environment_source(os.environ if environ is None else environ)
    file = file_source(directory / FILE_NAME)
    problems = list(file.problems)
    for source in (environment, file):
        problems += _unknown(source)
        problems += _with_secret_files(source, directory)
    where = _finder(environment, file)
    try:
        settings = Settings.from_tables(environment.values, file.values)
    except ValidationError as error:
        problems += _translated(error, where)
        # The rest is judged too, with defaults in place of the bad values.
        bad = {str(detail["loc"][0]) for detail in error.errors(include_context=False)}
        settings = Settings.from_tables(_without(environment, bad), _without(file, bad))
    problems += _judged(settings, where)
    if problems:
        raise ConfigurationError(problems)
    if is_bucket(settings.snapshots):
        return settings
    return settings.model_copy(update={"snapshots": str(directory / settings.snapshots)})


def _finder(environment: Source, file: Source) -> Callable[[Key], Place]:
    places = {**file.places, **environment.places}

    def where(key: Key) -> Place:
        """The place of the key itself, else of its table, else of anything in it."""
        inside = next((place for held, place in places.items() if held[:1] == key), (None, None))
        return places.get(key) or places.get(key[:1]) or inside

    return where


def _without(source: Source, names: Container[str]) -> dict[str, Any]:
    return {name: value for name, value in source.values.items() if name not in names}


def _unknown(source: Source) -> Iterator[Problem]:
    """Keys that are no setting, each with the nearest that is; taken out of the source."""
    for key, place in source.places.items():
        known = _known(key)
        if known is None:
            continue
        _take_out(source.values, key)
        near = difflib.get_close_matches(".".join(key), known, n=1)
        hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists all settings"
        yield Problem("UNKNOWN_SETTING", f"there is no setting {'.'.join(key)}; {hint}", *place)


def _take_out(values: dict[str, Any], key: Key) -> None:
    table = values[key[0]]
    if len(key) > 1 and isinstance(table, dict):
        table.pop(key[1], None)
    if len(key) == 1 or not table:
        values.pop(key[0])


def _known(key: Key) -> list[str] | None:
    """The names a key could have meant; None when the key is a setting (or a client's property)."""
    if key[0] in CLIENTS:
        return None
    names = set(setting_names())
    if ".".join(key) in names or any(name.startswith(f"{'.'.join(key)}.") for name in names):
        return None
    return sorted(names | set(CLIENTS))


def setting_names() -> Iterator[str]:
    """Every setting by its full name: `commit_interval`, `metrics.port`, ..."""
    for name, info in Settings.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from (f"{name}.{inner}" for inner in info.annotation.model_fields)
        else:
            yield name


def _with_secret_files(source: Source, directory: Path) -> Iterator[Problem]:
    """Puts the content of `<secret>.file` in place of its name."""
    for table in CLIENTS.keys() & source.values.keys():
        held = source.values[table]
        for name in [n for n in held if n.endswith(FILE_SUFFIX)]:
            target = name.removesuffix(FILE_SUFFIX)
            if not is_secret(target):
                continue
            place = source.places[table, name]
            if target in held:
                yield Problem("TWICE", f"{target} is given itself and as {name}", *place)
            try:
                held[target] = _secret(directory / held.pop(name))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                yield Problem("SECRET_FILE", f"{name}: cannot be read: {reason}", *place)


def _secret(path: Path) -> str:
    with path.open("rb") as stream:
        content = stream.read(MAX_SECRET_BYTES + 1)
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"it holds more than {MAX_SECRET_BYTES} bytes")
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def _translated(error: ValidationError, where: Callable[[Key], Place]) -> Iterator[Problem]:
    for detail in error.errors(include_input=False, include_url=False, include_context=False):
        key = tuple(str(part) for part in detail["loc"][:2])
        message = _sentence(detail)
        yield Problem("BAD_VALUE", f"{'.'.join(key)}: {message}", *where(key))


def _sentence(detail: Mapping[str, Any]) -> str:
    if detail["type"] == "model_type":
        return "write a table of names and values"
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _judged(settings: Settings, where: Callable[[Key], Place]) -> Iterator[Problem]:
    """What the client properties break, each with its place."""
    interval_ms = settings.commit_interval.total_seconds() * 1000
    found: Mapping[str, Iterable[tuple[str, Problem]]] = {
        "kafka": [
            *kafka_problems(settings.kafka, is_dev=settings.environment == "dev"),
            *timeout_problems(settings.kafka, interval_ms),
        ],
        "registry": registry_problems(settings.registry),
    }
    for table, problems in found.items():
        for name, problem in problems:
            file, line = where((table, name))
            yield Problem(problem.code, f"{table}: {problem.message}", file, line)
    step = step_problem(settings.kafka, settings.step_timeout.total_seconds() * 1000)
    if step is not None:
        limit: Key = ("kafka", "max.poll.interval.ms")
        place = where(("step_timeout",) if limit[1] not in settings.kafka else limit)
        yield Problem(step.code, step.message, *place)
