"""The payload of a dead letter as a person may see it: decoded, and masked where sensitive."""

from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from headwater.assembly.plain import plain_events
from headwater.contract import Contract, Decoder, TopicDecoder
from headwater.contract.framing import schema_headers
from headwater.contract.tree import Array, Map, Record, Type, optional
from headwater.model import Headers, RawRecord
from headwater.redaction import REDACTED

MASKED: Final = frozenset({"personal", "secret"})


class PayloadView:
    """Shows records of one topic under its contracts.

    Bytes that cannot be decoded are shown as hex, unless a contract has a field to be masked: it
    may be in them.
    """

    def __init__(self, contracts: Sequence[Contract], schemas: Callable[[int | UUID], str]) -> None:
        self._decoder = TopicDecoder([Decoder(contract, schemas) for contract in contracts])
        self._contracts = contracts

    def shown(self, record: RawRecord) -> dict[str, Any]:
        """Key, value and headers as JSON can write them. Raises RetriableError."""
        decoded = self._decoded(record)
        if decoded is None:
            is_masking = any(map(_masked, self._contracts))
            key, value = (
                REDACTED if part is not None and is_masking else _text(part)
                for part in (record.key, record.value)
            )
        else:
            contract, event = decoded
            masked = _masked(contract)
            value = _hidden(event, contract.record, "", masked)
            # the key is a field of the value, as sensitive as that one; else nothing tells of it
            is_harmless = not masked or (contract.key and not masked & {*contract.key})
            key = _text(record.key) if is_harmless or record.key is None else REDACTED
        return {"key": key, "value": value, "headers": _headers(record.headers)}

    def _decoded(self, record: RawRecord) -> tuple[Contract, dict[str, Any]] | None:
        """The fields of the value, and the contract they are of; None when it has no such."""
        headers = schema_headers({0: record.headers}) if record.headers else {}
        frames = self._decoder.decode([record.value], headers).frames
        for contract, frame in zip(self._contracts, frames, strict=True):
            for event in plain_events(frame):
                return contract, event
        return None


def _masked(contract: Contract) -> frozenset[str]:
    return frozenset(path for path, level in contract.sensitivity.items() if level in MASKED)


def _hidden(value: Any, type_: Type, path: str, masked: frozenset[str]) -> Any:
    """The value with REDACTED in place of what is sensitive in it, at any depth."""
    if value is None:
        return None
    if path in masked:
        return REDACTED
    match optional(type_) or type_:
        case Record(fields=fields):
            return {
                each.name: _hidden(
                    value[each.name], each.type, f"{path}.{each.name}".lstrip("."), masked
                )
                for each in fields
            }
        case Array(items):
            return [_hidden(item, items, f"{path}[]", masked) for item in value]
        case Map(values):
            return {
                key: _hidden(item, values, f"{path}{{}}", masked) for key, item in value.items()
            }
        case _:
            return value


def _text(content: bytes | None) -> str | None:
    """Bytes as text where they are one, else as hex."""
    if content is None:
        return None
    text = content.decode("utf-8", "replace")
    is_text = text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text
    return text if is_text else f"0x{content.hex()}"


def _headers(headers: Headers) -> list[list[str | None]]:
    return [[name, _text(content)] for name, content in headers]
