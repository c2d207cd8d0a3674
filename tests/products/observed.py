"""The contract of what the tests' products publish of observations."""

import json
from typing import Final

OPTIONAL: Final = {"default": None, "doc": "As recorded."}


def observed(*texts: str) -> str:
    """Observations, each with another one of its airport, and with more columns of text."""
    optional = {"temp": "double", "again": "double", **dict.fromkeys(texts, "string")}
    contract = {
        "type": "record",
        "name": "Joined",
        "doc": "An observation and what it was joined with.",
        "owner": "weather@airport.example",
        "key": "origin",
        "fields": [
            {"name": "origin", "type": "string", "doc": "Where."},
            {
                "name": "observed_at",
                "type": {"type": "long", "logicalType": "timestamp-millis"},
                "doc": "When.",
            },
            *({"name": name, "type": ["null", of], **OPTIONAL} for name, of in optional.items()),
        ],
    }
    return json.dumps(contract)
