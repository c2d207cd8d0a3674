"""The Avro schema of a snapshot's rows, for the subject `<topic>-snapshot`."""

import json
from typing import Any, Final

from headwater.contract import Contract

_PLACE: Final[list[dict[str, Any]]] = [
    {"name": "_partition", "type": "int", "doc": "The partition of the log this row stands in."},
    {"name": "_offset", "type": "long", "doc": "Its offset in that partition."},
    {
        "name": "_timestamp",
        "type": {"type": "long", "logicalType": "timestamp-millis"},
        "doc": "When it was published.",
    },
]


def snapshot_subject(topic: str) -> str:
    """The registry's name for the schema of a topic's snapshot."""
    return f"{topic}-snapshot"


def snapshot_schema(contract: Contract, *, log_subject: str) -> str:
    """The contract's fields, then where the row stands in the log; Avro JSON text.

    Its attribute `snapshotOf` names what it is a snapshot of: the subject of the log's values, and
    the version of the contract. It is no part of Avro, so it makes no schema incompatible.
    """
    schema = dict(contract.schema)
    schema["name"] = f"{schema['name']}Snapshot"
    schema["snapshotOf"] = {"subject": log_subject, "contractVersion": contract.version}
    schema["fields"] = [*schema["fields"], *_PLACE]
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
