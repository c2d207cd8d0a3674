"""The Avro schema of a snapshot's rows, for the subject `<topic>-snapshot`."""

import json
from typing import Any, Final

from headwater.contract import Contract
from headwater.snapshot.division import DATE

_PLACE: Final[list[dict[str, Any]]] = [
    {"name": "_partition", "type": "int", "doc": "The partition of the log this row stands in."},
    {"name": "_offset", "type": "long", "doc": "Its offset in that partition."},
    {
        "name": "_timestamp",
        "type": {"type": "long", "logicalType": "timestamp-millis"},
        "doc": "When it was published.",
    },
]
_DATE: Final[dict[str, Any]] = {
    "name": DATE,
    "type": ["null", {"type": "int", "logicalType": "date"}],
    "default": None,  # so that a table may be divided by it from some day on
    "doc": "The UTC day of its event time.",
}


def snapshot_subject(topic: str) -> str:
    """The registry's name for the schema of a topic's snapshot."""
    return f"{topic}-snapshot"


def snapshot_schema(contract: Contract, *, log_subject: str, divided_by: str | None = None) -> str:
    """The contract's fields, then where the row stands in the log; Avro JSON text.

    Of a table that is divided by DATE that column too.
    Its attribute `snapshotOf` names what it is a snapshot of: the subject of the log's values, and
    the version of the contract. It is no part of Avro, so it makes no schema incompatible.
    """
    schema = dict(contract.schema)
    schema["name"] = f"{schema['name']}Snapshot"
    schema["snapshotOf"] = {"subject": log_subject, "contractVersion": contract.version}
    schema["fields"] = [*schema["fields"], *_PLACE, *([_DATE] if divided_by == DATE else [])]
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
