"""Where settings come from: the environment and `headwater.toml`. Reads, places, never judges."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headwater.errors import Problem

FILE_NAME: Final = "headwater.toml"
PREFIX: Final = "HEADWATER_"
NESTED: Final = "__"

CLIENTS: Final[Mapping[str, str]] = {"kafka": "bootstrap.servers", "registry": "url"}
"""Tables of client properties, and the property a plain string stands for."""

NOT_SETTINGS: Final = re.compile(
    r"HEADWATER_(FAIL$"  # failpoints of the fault tests
    r"|SERVICE_(HOST|PORT)|PORT($|_))"  # Kubernetes sets these beside a service named headwater
)

Place = tuple[str | None, int | None]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Values as nested tables, and where each was written."""

    values: dict[str, Any]
    places: Mapping[Key, Place]
    problems: tuple[Problem, ...] = field(default=())


def environment_source(environ: Mapping[str, str]) -> Source:
    """The variables `HEADWATER_*`.

    `HEADWATER_METRICS__PORT` is `metrics.port`; `HEADWATER_KAFKA__SASL_MECHANISM` is the Kafka
    property `sasl.mechanism`; `HEADWATER_KAFKA` alone is `bootstrap.servers`.
    """
    values: dict[str, Any] = {}
    places: dict[Key, Place] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or NOT_SETTINGS.match(variable):
            continue
        table, _, rest = variable.removeprefix(PREFIX).lower().partition(NESTED)
        name = rest.replace("_", ".") if table in CLIENTS else rest
        key = _key(table, name)
        _put(values, key, environ[variable])
        places[key] = (variable, None)
    return Source(values, places)


def file_source(path: Path) -> Source:
    """The file `headwater.toml`; an absent file is an empty source."""
    shown = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except FileNotFoundError:
        return Source({}, {})
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return Source({}, {}, (Problem("UNREADABLE_FILE", f"cannot be read: {reason}", shown),))
    except tomllib.TOMLDecodeError as error:
        # Its text names line and column, and at most one character of the file.
        return Source({}, {}, (Problem("BAD_TOML", f"is not TOML: {error}", shown),))
    values: dict[str, Any] = {}
    for table, held in tables.items():
        for name, value in _entries(table, held).items():
            _put(values, _key(table, name), value)
    places = {key: (shown, _line(text, key)) for key in _keys(values)}
    return Source(values, places)


def _key(table: str, name: str) -> Key:
    if table in CLIENTS:
        return table, name or CLIENTS[table]
    return (table, name) if name else (table,)


def _entries(table: str, held: Any) -> dict[str, Any]:
    """A table's entries by name; those of a client are flattened and become text."""
    if not isinstance(held, dict):
        return {"": _text(held) if table in CLIENTS else held}
    if table not in CLIENTS:
        return held or {"": {}}
    return _flat(held)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`sasl.mechanism = ...` unquoted is a table of a table in TOML; a client means one name."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = _text(value)
    return flat


def _text(value: Any) -> Any:
    """Text of a scalar; anything else stays and is refused by its type."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    return str(value) if isinstance(value, str | int | float) else value


def _put(values: dict[str, Any], key: Key, value: Any) -> None:
    if len(key) == 1:
        values[key[0]] = value
        return
    table = values.setdefault(key[0], {})
    if isinstance(table, dict):
        table[key[1]] = value


def _keys(values: Mapping[str, Any]) -> list[Key]:
    return [
        key
        for table, held in values.items()
        for key in ([(table, name) for name in held] if isinstance(held, dict) else [(table,)])
    ]


def _line(text: str, key: Key) -> int | None:
    """The line a key is written on: searched after its table's header, by its full spelling."""
    name = rf'"?{re.escape(key[-1])}"?\s*='
    header = rf"^\s*\[\s*{re.escape(key[0])}\s*\][^\[]*?" if len(key) > 1 else ""
    inline = rf"^\s*{re.escape(key[0])}\s*[.=]"
    for pattern in (rf"{header}^\s*{name}", inline):
        match = re.search(pattern, text, re.MULTILINE | re.DOTALL if header else re.MULTILINE)
        if match:
            return text.count("\n", 0, match.end()) + 1
    return None
