"""A commit record as text, in the log of a table of any format."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from typing import Final

from pydantic import TypeAdapter, ValidationError

from headwater.errors import StartRefusedError
from headwater.ports import SNAPSHOT_FORMAT, CommitRecord, CutRange, DaysClosed, UnreadableRecord

KEY: Final = "headwater"  # the name of our metadata; compaction and other writers have none
_RECORD: Final = TypeAdapter(CommitRecord)  # ignores what a newer Headwater may have added
_MODES: Final = frozenset({"append", "latest", "daily"})
_HASH: Final = re.compile("[0-9a-f]{32}")
_INT32: Final = 2**31 - 1  # the greatest partition that Kafka can have
_END_OF_TIME_MS: Final = 253_402_300_800_000  # the end of the year 9999, which calendars here have


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
    if flaw := next(_flaws(record), None):
        return UnreadableRecord(f"{flaw} is none that a snapshot writes")
    return replace(record, ranges=tuple(record.ranges))


def _flaws(record: CommitRecord) -> Iterator[str]:
    """What of a record can be no snapshot's, though it is of the right type."""
    if record.mode not in _MODES:
        yield "mode"
    if record.mode == "latest" and record.buckets.bit_count() != 1:
        yield "buckets"
    if not 0 <= record.committed_at_ms < _END_OF_TIME_MS:
        yield "committed_at_ms"
    if not all(map(_is_range, record.ranges)):
        yield "ranges"
    if record.days is not None and not all(map(_is_day, _days(record.days))):
        yield "days"


def _is_range(taken: CutRange) -> bool:
    return (
        0 <= taken.partition <= _INT32
        and 0 <= taken.start <= taken.end
        and taken.rows >= 0
        and _HASH.fullmatch(taken.hash) is not None
    )


def _days(days: DaysClosed) -> list[str]:
    return [*days.corrected, *([] if days.before is None else [days.before])]


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


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
