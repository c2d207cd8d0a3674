"""The payload of a dead letter as a person may see it: decoded, and masked where sensitive."""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from headwater.assembly.plain import plain_events
from headwater.contract import Contract, Decoder
from headwater.contract.framing import schema_headers
from headwater.contract.tree import Array, Map, Record, Type, optional
from headwater.model import Headers, RawRecord
from headwater.redaction import REDACTED

MASKED: Final = frozenset({"personal", "secret"})


class PayloadView:
    """Shows records of one input under its contract.

    Bytes that cannot be decoded are shown as hex, unless the contract has a field to be masked:
    it may be in them.
    """

    def __init__(self, contract: Contract, schemas: Callable[[int | UUID], str]) -> None:
        self._contract = contract
        self._decoder = Decoder(contract, schemas)
        self._masked = frozenset(
            path for path, level in contract.sensitivity.items() if level in MASKED
        )

    def shown(self, record: RawRecord) -> dict[str, Any]:
        """Key, value and headers as JSON can write them. Raises RetriableError."""
        value, is_decoded = self._value(record)
        return {
            "key": self._key(record.key, is_decoded=is_decoded),
            "value": value,
            "headers": _headers(record.headers),
        }

    def _value(self, record: RawRecord) -> tuple[Any, bool]:
        """The value's fields, or its bytes; and whether it could be decoded."""
        if record.value is None:
            return None, False
        headers = schema_headers({0: record.headers}) if record.headers else {}
        events = plain_events(self._decoder.decode([record.value], headers).frame)
        if events:
            return self._hidden(events[0], self._contract.record, ""), True
        return self._hex(record.value), False

    def _key(self, key: bytes | None, *, is_decoded: bool) -> str | None:
        """The key as text or hex; it is a field of the value, as sensitive as that one."""
        is_harmless = is_decoded and self._contract.key and not self._masked & {*self._contract.key}
        if key is None or (self._masked and not is_harmless):
            return None if key is None else REDACTED
        text = key.decode("utf-8", "replace")
        return text if text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text else _hex(key)

    def _hex(self, value: bytes) -> str:
        return REDACTED if self._masked else _hex(value)

    def _hidden(self, value: Any, type_: Type, path: str) -> Any:
        """The value with REDACTED in place of what is sensitive in it, at any depth."""
        if value is None:
            return None
        if path in self._masked:
            return REDACTED
        match optional(type_) or type_:
            case Record(fields=fields):
                paths = {each.name: f"{path}.{each.name}".lstrip(".") for each in fields}
                return {
                    each.name: self._hidden(value[each.name], each.type, paths[each.name])
                    for each in fields
                }
            case Array(items):
                return [self._hidden(item, items, f"{path}[]") for item in value]
            case Map(values):
                return {
                    key: self._hidden(item, values, f"{path}{{}}") for key, item in value.items()
                }
            case _:
                return value


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"


def _headers(headers: Headers) -> list[list[str | None]]:
    return [
        [name, None if text is None else text.decode("utf-8", "backslashreplace")]
        for name, text in headers
    ]
