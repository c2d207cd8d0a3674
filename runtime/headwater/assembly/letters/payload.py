"""The payload of a dead letter as a person may see it: decoded, and masked where sensitive."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from headwater.assembly.plain import plain_events
from headwater.contract import Contract, Decoder, TopicDecoder, masked_event, masked_fields
from headwater.contract.framing import schema_headers
from headwater.model import Headers, RawRecord
from headwater.redaction import REDACTED


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
        value: dict[str, Any] | str | None
        if decoded is None:
            is_masking = bool(masked_fields(*self._contracts))
            key, value = (
                REDACTED if part is not None and is_masking else _text(part)
                for part in (record.key, record.value)
            )
        else:
            contract, event = decoded
            masked = masked_fields(contract)
            value = masked_event(event, contract)
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


def _text(content: bytes | None) -> str | None:
    """Bytes as text where they are one, else as hex."""
    if content is None:
        return None
    text = content.decode("utf-8", "replace")
    is_text = text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text
    return text if is_text else f"0x{content.hex()}"


def _headers(headers: Headers) -> list[list[str | None]]:
    return [[name, _text(content)] for name, content in headers]
