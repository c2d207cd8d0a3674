"""Ctrl-C ends every command with one line that says what is kept. Imports nothing heavy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class Interrupted(Exception):  # noqa: N818  # no error: the person wanted it
    """Ctrl-C, as it is told. `str` is the whole line; `kept` says what stays and how to go on."""

    exit_code: ClassVar[int] = 130  # 128 + SIGINT, as shells expect

    def __init__(self, kept: str = "") -> None:
        super().__init__(f"Interrupted; {kept}." if kept else "Interrupted.")


class Kept(KeyboardInterrupt):
    """Ctrl-C on its way up; `str` is what stays. Text of any other may be an author's."""


@contextmanager
def keeping(kept: str) -> Iterator[None]:
    """While this block runs, Ctrl-C leaves `kept`: half a sentence about what stays."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Kept(kept) from error
