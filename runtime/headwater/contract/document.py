"""The text of a contract -> JSON that can be written again: what a registry and others can read."""

import json
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, NoReturn

MAX_LEVELS: Final = 400  # of JSON in JSON; whoever writes it again has 1,000 calls in Python
_HALF: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}"  # the first half of a surrogate pair, escaped
_OTHER: Final = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE: Final = re.compile(rf"{_HALF}(?!{_OTHER})|(?<!{_HALF}){_OTHER}")
_DIGITS: Final = re.compile(rf"\d{{{sys.get_int_max_str_digits() + 1},}}")
_TOO_DEEP: Final = "it nests too deep"
_WORD: Final = re.compile(r"\b(NaN|Infinity)\b|\b\d[\d.]*[eE]\+?\d{3,}")


class BadDocumentError(ValueError):
    """A text is not JSON, or holds what JSON cannot; `line` is where, if it can be told."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


def read_document(text: str) -> Any:
    """The JSON value in `text`. Raises BadDocumentError."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except json.JSONDecodeError as error:
        raise BadDocumentError(error.msg, error.lineno) from error
    except RecursionError as error:
        raise BadDocumentError(_TOO_DEEP, None) from error
    except UnicodeEncodeError:
        _refuse("a text has half a surrogate pair", text, _LONE)
    except ValueError:
        if _DIGITS.search(text):
            _refuse("a number has more digits than any type holds", text, _DIGITS)
        _refuse('a number is not finite; write "NaN" or "Infinity" as a text', text, _WORD)
    if _is_deeper(value, MAX_LEVELS):
        raise BadDocumentError(_TOO_DEEP, None)
    return value


def line_of(text: str, pattern: re.Pattern[str]) -> int | None:
    """The line of the first match, counted from 1; None without one."""
    found = pattern.search(text)
    return None if found is None else text.count("\n", 0, found.start()) + 1


def field_line(text: str, path: str) -> int | None:
    """The line of the first field named like the last of `path`, or of a quoted word as it is.

    The first line without a path; None when there is no such field.
    """
    name = path.replace("[]", "").replace("{}", "").rpartition(".")[2]
    pattern = re.escape(path) if path.startswith('"') else rf'"name"\s*:\s*"{re.escape(name)}"'
    return line_of(text, re.compile(pattern)) if name else 1


def _is_deeper(value: object, levels: int) -> bool:
    """Whether anything lies below so many levels; level by level, as deep ones end a recursion."""
    found = [value]
    for _ in range(levels):
        found = [inside for each in found for inside in _inside(each)]
    return bool(found)


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse(message: str, text: str, pattern: re.Pattern[str]) -> NoReturn:
    raise BadDocumentError(message, line_of(text, pattern))
