"""A commit record as text, in the log of a table of any format."""

import json
from dataclasses import asdict, replace
from typing import Final

from pydantic import TypeAdapter, ValidationError

from headwater.errors import StartRefusedError
from headwater.ports import SNAPSHOT_FORMAT, CommitRecord, UnreadableRecord

KEY: Final = "headwater"  # the name of our metadata; compaction and other writers have none
_RECORD: Final = TypeAdapter(CommitRecord)  # ignores what a newer Headwater may have added


def to_text(record: CommitRecord) -> str:
    """The record as JSON."""
    return json.dumps(asdict(record), separators=(",", ":"))


def from_text(text: object) -> CommitRecord | UnreadableRecord | None:
    """The record that stands in a table's log under KEY; None when nothing stands there.

    Raises StartRefusedError (SNAPSHOT_FORMAT) for one of a newer release, whatever stands in it.
    """
    if text is None:
        return None
    content = text if isinstance(text, str) else ""
    _require_known(content)
    try:
        record = _RECORD.validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = "".join(f"{step}: " for step in first["loc"])
        return UnreadableRecord(f"{place}{first['msg']}")
    return replace(record, ranges=tuple(record.ranges))


def _require_known(text: str) -> None:
    try:
        found = json.loads(text)
    except ValueError:
        return  # which is told as what it is: no record
    number = found.get("format") if isinstance(found, dict) else None
    if isinstance(number, int) and number > SNAPSHOT_FORMAT:
        raise StartRefusedError(
            f"The snapshot of {found.get('topic')} is of format {number}, which a newer release of"
            f" Headwater wrote, and this one knows {SNAPSHOT_FORMAT}; nothing was written. Use that"
            f" release, or begin a new snapshot in another directory with --to.",
            code="SNAPSHOT_FORMAT",
        )
