"""Contracts, decoders and values for tests, in a line each."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro

from headwater.contract import Contract, Decoder, parse_contract

FRAME = b"\0\0\0\0\1"


def contract(*types: Any, fields: list[Any] | None = None) -> Contract:
    """A contract of fields f0, f1 ... of these types, or of the fields given."""
    listed = fields or [
        {"name": f"f{place}", "type": each, "doc": "d"} for place, each in enumerate(types)
    ]
    text = json.dumps({"type": "record", "name": "R", "fields": listed})
    return parse_contract(text, topic="a.b", version=1, path=Path("v1.avsc"))


def decoder(tried: Contract, writer: Any = None) -> Decoder:
    """A decoder that finds one writer's schema under every id; the contract's own by default."""
    return Decoder(tried, lambda _: json.dumps(writer) if writer else tried.text)


def written(schema: Any, record: Any) -> bytes:
    """A framed value as fastavro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return FRAME + out.getvalue()
