"""Options that say which dead letters are meant, and what they mean."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Final

import typer

from headwater.assembly.audit import Place
from headwater.assembly.letters import Selection
from headwater.clock import SYSTEM, moment_ms
from headwater.config import parse_duration
from headwater.errors import ConfigurationError, Problem
from headwater.model import Code, Partition

MS: Final = 1000
LETTER: Final = re.compile(r"(\d+)@(\d+)")
RECORD: Final = re.compile(r"([A-Za-z0-9._-]+)\[(\d+)\]@(\d+)")

Codes = Annotated[
    list[str] | None, typer.Option("--code", metavar="CODE", help="Only of this code; repeatable.")
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="Only of this key: a text, a whole number, or 0x and hex digits; repeatable.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only first seen since then: a time with its zone, or 90s, 2h, 7d ago.",
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only first seen before then.")]
At = Annotated[
    list[str] | None,
    typer.Option("--at", metavar="PARTITION@OFFSET", help="Only this letter; repeatable."),
]


def selection_of(
    codes: Sequence[str] | None,
    keys: Sequence[str] | None,
    since: str | None,
    until: str | None,
    places: Sequence[str] | None,
) -> Selection:
    """The letters that the options mean. Raises ConfigurationError."""
    return Selection(
        codes=frozenset(map(_code, codes or ())),
        keys=frozenset(keys or ()),
        since_ms=None if since is None else _moment_ms("--since", since),
        until_ms=None if until is None else _moment_ms("--until", until),
        places=frozenset(map(_letter, places or ())),
    )


def place_of(text: str) -> Place:
    """The record that TOPIC[PARTITION]@OFFSET names. Raises ConfigurationError."""
    match = RECORD.fullmatch(text)
    if match is None:
        raise bad(f"{text}: write TOPIC[PARTITION]@OFFSET, as in operations.departures[0]@4711")
    return Partition(match[1], int(match[2])), int(match[3])


def bad(text: str) -> ConfigurationError:
    """The mistake in an option."""
    return ConfigurationError([Problem("BAD_VALUE", text)])


def _code(text: str) -> str:
    """A code as letters carry it, written in whatever case; no other can be meant."""
    code = text.upper().replace("-", "_")
    if code not in set(Code):
        near = get_close_matches(code, list(Code), n=1)
        advice = f"did you mean {near[0]}?" if near else f"the codes are {', '.join(Code)}"
        raise bad(f"--code {text}: there is no such code; {advice}")
    return code


def _letter(text: str) -> tuple[int, int]:
    match = LETTER.fullmatch(text)
    if match is None:
        raise bad(f"--at {text}: write PARTITION@OFFSET, as `headwater dead-letters list` does")
    return int(match[1]), int(match[2])


def _moment_ms(option: str, text: str) -> int:
    """Milliseconds since the epoch, of a time or of a duration before now."""
    try:
        return SYSTEM.wall_ms() - int(parse_duration(text).total_seconds() * MS)
    except ValueError:
        pass  # then it is a time, or nothing
    try:
        return moment_ms(text)
    except ValueError as error:
        raise bad(
            f"{option} {text}: write a time with its zone such as 2026-01-31T00:00:00Z, or how"
            " long ago such as 2h"
        ) from error
