"""`docs/settings.md`, made from the settings themselves: python -m headwater.config.reference."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from headwater.config.durations import format_duration
from headwater.config.rules import (
    DEV_ONLY,
    LONGEST_INTERVAL_SHARE,
    ORDERS,
    OWNED,
    REGISTRY_OWNED,
    SAFE_VALUES,
    TIMEOUTS_MS,
)
from headwater.config.settings import MIB, Settings
from headwater.config.sources import CLIENTS, NESTED, PREFIX

HEADER: Final = """\
# Settings

Made from the code by `make docs`; do not edit.

A setting is looked for in the environment first, then in `headwater.toml` in the working directory.
Unknown names are refused, and all mistakes are listed at once (exit code 78).
Durations are a number with a unit: `100ms`, `5s`, `15m`, `1h`, `7d`; sizes are bytes or `16MiB`.

| in headwater.toml | in the environment | default | what it does |
|---|---|---|---|
"""

CLIENT_PROPERTIES: Final = """
## Client properties

`[kafka]` and `[registry]` pass any property of the client libraries on.

```toml
[kafka]
bootstrap.servers = "broker:9093"
security.protocol = "SASL_SSL"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = "flights"
sasl.password.file = "/run/secrets/kafka"

[registry]
url = "https://registry:8081"
basic.auth.user.info.file = "/run/secrets/registry"
```

In the environment, two underscores follow the table's name and single ones stand for dots:
`HEADWATER_KAFKA__SASL_MECHANISM` is `sasl.mechanism`.
`HEADWATER_KAFKA` alone is `bootstrap.servers`, `HEADWATER_REGISTRY` alone is `url`.

A property that holds a secret may be read from a file: add `.file` to its name.
Secrets show as `<redacted>` in logs, messages and whatever is printed.

When no address is set, commands use the stack that `headwater dev up` started in the working
directory.
"""


def markdown() -> str:
    """The whole page."""
    return "".join(
        [
            HEADER,
            *(f"{row}\n" for row in _rows(Settings)),
            CLIENT_PROPERTIES,
            *_refusals(),
            *_timeouts(),
        ]
    )


def _rows(model: type[BaseModel], table: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _rows(info.annotation, f"{name}.")
        else:
            yield _row(f"{table}{name}", info)


def _row(name: str, info: FieldInfo) -> str:
    variable = PREFIX + name.upper().replace(".", NESTED)
    spelled = f"[{name}]" if name in CLIENTS else name
    variable += f"{NESTED}*" if name in CLIENTS else ""
    words = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    values = " or ".join(f"`{value}`" for value in words)
    sentence = f"{info.description}{f' Values: {values}.' if values else ''}"
    return f"| `{spelled}` | `{variable}` | {_default(name, info)} | {sentence} |"


def _default(name: str, info: FieldInfo) -> str:
    value: Any = info.default
    if name in CLIENTS:
        return "the stack of `headwater dev up`"
    if info.default_factory is dict:
        return "none"
    if value is PydanticUndefined:
        return "the host name"
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, int) and value >= MIB and value % MIB == 0:
        return f"`{value // MIB}MiB`"
    return f"`{value}`" if str(value) else "empty"


def _refusals() -> Iterator[str]:
    yield "\n## What is refused\n\n"
    yield "Each of these would break a promise, so a start with it ends with exit code 78.\n\n"
    yield "| property | allowed | why |\n|---|---|---|\n"
    for name, reason in OWNED.items():
        yield f"| `{name}` | never | {reason} |\n"
    for name, (values, reason) in SAFE_VALUES.items():
        yield f"| `{name}` | {' or '.join(f'`{v}`' for v in sorted(values))} | else {reason} |\n"
    for name, dangers in DEV_ONLY.items():
        listed = " or ".join(f"`{v}`" for v in sorted(dangers))
        yield f"| `{name}` | {listed} in `dev` only | else anyone could pose as the broker |\n"
    for name, reason in REGISTRY_OWNED.items():
        yield f"| `{name}` (registry) | never | {reason} |\n"


def _timeouts() -> Iterator[str]:
    yield "\n## Timeouts that belong together\n\n"
    yield "| property | default |\n|---|---|\n"
    for name, milliseconds in TIMEOUTS_MS.items():
        yield f"| `{name}` | `{milliseconds}` |\n"
    yield "\n"
    for order in ORDERS:
        share = "a third of " if order.times > 1 else ""
        yield f"- `{order.shorter}` is at most {share}`{order.longer}`: else {order.reason}.\n"
    yield (
        f"- `commit_interval` is at most {LONGEST_INTERVAL_SHARE:.0%} of `transaction.timeout.ms`: "
        "else no time would be left to commit.\n"
    )


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201  # this module's whole purpose
