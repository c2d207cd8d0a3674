"""What is secret, said once: settings, logs and messages ask here before they print."""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

REDACTED: Final = "<redacted>"

_SECRET_NAME: Final = re.compile(
    r"password|passphrase|secret|token|jaas|credential|basic\.?_?auth|user\.?_?info|private"
    r"|oauthbearer\.config|(^|[._-])(api)?key($|[._-])",
    re.IGNORECASE,
)
_PLACE_NAME: Final = re.compile(r"\.(location|file)$")  # says where a secret lies, not what it is
_URL_USER: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")

MIN_SECRET_LENGTH: Final = 4  # a shorter one would blot out half of every sentence


def is_secret(name: str) -> bool:
    """Whether a setting or log field of this name may hold a secret."""
    return bool(_SECRET_NAME.search(name)) and not _PLACE_NAME.search(name)


def redact(name: str, value: str) -> str:
    """The value as it may be printed under this name; a URL loses its user and password."""
    return REDACTED if is_secret(name) else _URL_USER.sub(REDACTED, value)


def blot(text: str, secrets: Iterable[str]) -> str:
    """The text with every occurrence of a known secret, and every user in a URL, taken out."""
    for secret in secrets:
        if len(secret) >= MIN_SECRET_LENGTH:
            text = text.replace(secret, REDACTED)
    return _URL_USER.sub(REDACTED, text)


def users_of(text: str) -> frozenset[str]:
    """Users and passwords in URLs, together and each, as written and as they are meant."""
    users = set(_URL_USER.findall(text))
    parts = {part for user in users for part in user.split(":")}
    return frozenset(users | parts | {unquote(part) for part in parts})


class ClientProperties(dict[str, str]):
    """Properties of a client library; a plain dict but for its text, which shows no secret."""

    def __repr__(self) -> str:
        return repr({name: redact(name, value) for name, value in self.items()})

    def __or__(self, other: Mapping[str, str]) -> "ClientProperties":  # type: ignore[override]  # narrower
        """These properties overlaid by others, still redacted."""
        return ClientProperties({**self, **other})

    def secrets(self) -> frozenset[str]:
        """The values that must not be printed, users and passwords inside URLs included."""
        named = {value for name, value in self.items() if is_secret(name)}
        users = {user for value in self.values() for user in _URL_USER.findall(value)}
        parts = {part for value in named | users for part in value.split(":")}
        return frozenset(named | users | parts)
