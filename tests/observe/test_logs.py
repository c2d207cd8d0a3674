"""Logs: JSON or text, and never a secret or a payload."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
import structlog

from headwater.errors import FencedError
from headwater.model import Code, Partition, RawRecord
from headwater.observe import bind_process, configure_logs, get_logger

CANARY = "canary-9c1d"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging as it was, for the tests after this one."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines written so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json() -> None:
    """With time, level, room, the process's fields and its own."""
    stream = io.StringIO()
    configure_logs(form="json", stream=stream)
    bind_process(product="flights.late", instance="a")
    get_logger("engine").info("engine.started", partition=Partition("in", 3), code=Code.BAD_UTF8)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "engine.started",
        "level": "info",
        "logger": "engine",
        "product": "flights.late",
        "instance": "a",
        "partition": "in[3]",
        "code": "BAD_UTF8",
    }


def test_auto_is_json_where_nobody_looks() -> None:
    """A file or a pipe gets JSON, text is asked for or goes to a terminal."""
    piped, asked = io.StringIO(), io.StringIO()
    configure_logs(form="auto", stream=piped)
    get_logger("x").info("x.happened")
    configure_logs(form="text", stream=asked)
    get_logger("x").info("x.happened", n=3)
    assert lines(piped)
    assert "x.happened" in asked.getvalue()
    assert "n=3" in asked.getvalue()


def test_the_level_is_kept() -> None:
    """What is less severe is not written, from libraries neither."""
    stream = io.StringIO()
    configure_logs(form="json", level="warning", stream=stream)
    get_logger("x").info("x.happened")
    logging.getLogger("library").info("hello")
    assert not stream.getvalue()


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_never_show(form: Any) -> None:
    """By name or by value, nested, inside sentences, from libraries, in errors."""
    stream = io.StringIO()
    configure_logs(form=form, secrets=[CANARY], stream=stream)
    log = get_logger("x")
    log.info("x.happened", password="s3cret-by-name", token=None, nested={"api.key": "s3cret-too"})
    sentence = f"x.{CANARY}"
    log.info(sentence, url=f"http://u:{CANARY}@h", listed=[CANARY, {"a": f"b {CANARY}"}])
    log.error("x.failed", error=FencedError(f"as {CANARY}"))
    logging.getLogger("library").warning("connecting as %s to http://me:pw-in-url@h", CANARY)
    log.error("x.failed", exc_info=FencedError(CANARY))
    text = stream.getvalue()
    assert text
    for secret in (CANARY, "s3cret", "pw-in-url"):
        assert secret not in text


@pytest.mark.parametrize("form", ["json", "text"])
def test_payloads_never_show(form: Any) -> None:
    """Bytes are a length, frames and records a type, and a library's message is left out."""
    stream = io.StringIO()
    configure_logs(form=form, stream=stream)
    payload = CANARY.encode()
    record = RawRecord(Partition("in", 0), 1, 2, payload, payload)
    frame = pl.DataFrame({"name": [CANARY]})
    log = get_logger("x")
    log.info("x.happened", value=payload, record=record, frame=frame, rows=[payload], row=frame[0])
    try:
        int(CANARY)
    except ValueError:
        log.exception("x.failed")
    text = stream.getvalue()
    assert "<11 bytes>" in text
    assert "<DataFrame>" in text
    assert "ValueError" in text
    assert "test_logs.py" in text
    assert CANARY not in text
