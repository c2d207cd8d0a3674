"""Logs: structlog, JSON or readable, to standard error. Shows no secret and no payload."""

import logging
import sys
from collections.abc import Collection, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from headwater.errors import HeadwaterError
from headwater.model import Partition, Position
from headwater.redaction import REDACTED, blot, is_secret

Format = Literal["auto", "json", "text"]
Level = Literal["debug", "info", "warning", "error"]

# a line per request, or for each table that is opened, at info
CHATTY: Final = ("httpx2", "httpcore2", "pyiceberg")
_PLAIN: Final = (bool, int, float, type(None))
_NAMED: Final = (
    Path,
    timedelta,
    Partition,
    Position,
    HeadwaterError,
)  # their text is what one wants to read
_STRUCTURE: Final = frozenset({"_record", "_from_structlog"})  # structlog's own, removed later


def configure_logs(
    *,
    form: Format = "auto",
    level: Level = "info",
    secrets: Collection[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Set up logging of this process, libraries included.

    `auto` is text on a terminal and JSON elsewhere. `secrets` are values to take out wherever they
    turn up; `Settings.secrets()` knows them.
    """
    stream = sys.stderr if stream is None else stream
    is_text = form == "text" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _frames_of_error,
        _without_payloads,
        _Redaction(secrets),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = logging.StreamHandler(stream)
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if is_text
        else structlog.processors.JSONRenderer()
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for library in CHATTY:
        logging.getLogger(library).setLevel(logging.WARNING)


def get_logger(room: str) -> FilteringBoundLogger:
    """The logger of a room; its events are `room.what_happened` with fields."""
    logger: FilteringBoundLogger = structlog.get_logger(room)
    return logger


def bind_process(**fields: str) -> None:
    """Put these fields (product, instance) on every line of this process."""
    structlog.contextvars.bind_contextvars(**fields)


def _frames_of_error(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The place of a defect in the code, without its message: libraries quote payloads there."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        if isinstance(error, HeadwaterError):
            event["error_code"], event["error_message"] = error.code, str(error)
        event["frames"] = _frames(error.__traceback__)
    return event


def _frames(traceback: TracebackType | None) -> list[str]:
    return [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in extract_tb(traceback)]


def _without_payloads(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Bytes become their length, frames and other objects their type."""
    return {name: value if name in _STRUCTURE else _shown(value) for name, value in event.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (str, *_PLAIN)):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {str(_shown(name)): _shown(held) for name, held in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [_shown(held) for held in value]
    return str(value) if isinstance(value, _NAMED) else f"<{type(value).__name__}>"


class _Redaction:
    """Takes secrets out of an event: by the field's name, and by value wherever one turns up."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = tuple(sorted(secrets, key=len, reverse=True))  # the longest hides the most

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        return {
            name: value if name in _STRUCTURE else self._redacted(name, value)
            for name, value in event.items()
        }

    def _redacted(self, name: str, value: Any) -> Any:
        if is_secret(name) and value is not None:
            return REDACTED
        if isinstance(value, str):
            return blot(value, self._secrets)
        if isinstance(value, dict):
            return {inner: self._redacted(inner, held) for inner, held in value.items()}
        if isinstance(value, list):
            return [self._redacted("", held) for held in value]
        return value
