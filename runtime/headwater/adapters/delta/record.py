"""A commit record as text, in the custom metadata of a Delta commit."""

import json
from dataclasses import asdict
from typing import Any, Final

from headwater.ports import CommitRecord, CutRange

KEY: Final = "headwater"  # the name of our metadata; compaction and other writers have none


def to_text(record: CommitRecord) -> str:
    """The record as JSON."""
    return json.dumps(asdict(record), separators=(",", ":"))


def from_history(entry: dict[str, Any]) -> CommitRecord | None:
    """The record of one entry of a table's history; None when the commit is not a snapshot."""
    text = entry.get(KEY)
    if text is None:
        return None
    fields = json.loads(text)
    fields["ranges"] = tuple(CutRange(**taken) for taken in fields["ranges"])
    return CommitRecord(**fields)
