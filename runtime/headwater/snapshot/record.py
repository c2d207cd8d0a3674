"""A commit record as text, in the log of a table of any format."""

import json
from dataclasses import asdict, replace
from typing import Final

from pydantic import TypeAdapter, ValidationError

from headwater.ports import CommitRecord, UnreadableRecord

KEY: Final = "headwater"  # the name of our metadata; compaction and other writers have none
_RECORD: Final = TypeAdapter(CommitRecord)  # ignores what a newer Headwater may have added


def to_text(record: CommitRecord) -> str:
    """The record as JSON."""
    return json.dumps(asdict(record), separators=(",", ":"))


def from_text(text: object) -> CommitRecord | UnreadableRecord | None:
    """The record that stands in a table's log under KEY; None when nothing stands there."""
    if text is None:
        return None
    try:
        record = _RECORD.validate_json(text if isinstance(text, str) else "", strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = "".join(f"{step}: " for step in first["loc"])
        return UnreadableRecord(f"{place}{first['msg']}")
    return replace(record, ranges=tuple(record.ranges))
