"""The cuts of a table, and the one that is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from headwater.errors import DamagedError, ReadRefusedError
from headwater.ports import CommitRecord, Table, UnreadableRecord


@dataclass(frozen=True, slots=True)
class SnapshotCut:
    """Where one commit of a snapshot ended: the next offset of the log, by partition.

    `version` is the table's that the commit made, `read_version` the newest with the same rows:
    upkeep may have put them into other files. `time` is when it was committed. `mode` is that of
    the table: "append", "daily", or "latest", of which each key has one row.
    """

    topic: str
    topic_id: str
    commit_id: str
    offsets: Mapping[int, int]
    time: datetime
    version: int
    read_version: int
    mode: str = "append"


At = int | str | datetime | SnapshotCut
"""Which cut: of a table version, of a commit id or "latest", the newest at a time, or this one."""


def cuts(table: Table) -> list[SnapshotCut]:
    """Every cut of a table, oldest first. Raises DamagedError."""
    newest = table.version()
    if newest is None:
        return []
    found = [(version, _readable(version, each)) for version, each in table.commits()]
    found = [(version, each) for version, each in found if version <= newest]
    versions = [*(version for version, _ in found), newest + 1]
    offsets: dict[str, dict[int, int]] = {}
    made = []
    for (version, record), (_, following) in zip(found, pairwise(versions), strict=True):
        ends = offsets.setdefault(record.topic_id, {})
        ends.update({taken.partition: taken.end for taken in record.ranges})
        made.append(_cut(record, dict(ends), version, following - 1))
    return made


def chosen(found: Sequence[SnapshotCut], at: At, location: str) -> SnapshotCut:
    """The cut that is asked for. Raises ReadRefusedError: NO_SNAPSHOT, CUT_UNKNOWN, NO_ZONE."""
    if not found:
        raise ReadRefusedError(
            f"There is no snapshot in {location}; take one with `headwater snapshot`, set"
            f" `snapshots` to where they are, or read from the beginning of the log.",
            code="NO_SNAPSHOT",
        )
    if at == "latest":
        return found[-1]
    fitting = [each for each in found if _fits(each, at)]
    if not fitting:
        raise ReadRefusedError(
            f"The snapshot in {location} has no cut {at}; it has {len(found)}, from version"
            f" {found[0].version} of {found[0].time:%Y-%m-%d %H:%M:%S} UTC to version"
            f" {found[-1].version} of {found[-1].time:%Y-%m-%d %H:%M:%S} UTC.",
            code="CUT_UNKNOWN",
        )
    return fitting[-1]


def require_zone(time: datetime) -> datetime:
    """The time itself. Raises ReadRefusedError (NO_ZONE) when it does not say of which zone."""
    if time.tzinfo is None:
        raise ReadRefusedError(
            "A time without a zone may be any of 24; write datetime(..., tzinfo=UTC).",
            code="NO_ZONE",
        )
    return time


def _fits(cut: SnapshotCut, at: At) -> bool:
    match at:
        case SnapshotCut():
            return cut.commit_id == at.commit_id
        case datetime():
            return cut.time <= require_zone(at)
        case int():
            return cut.version == at
        case _:
            return cut.commit_id == at


def _readable(version: int, record: CommitRecord | UnreadableRecord) -> CommitRecord:
    if isinstance(record, UnreadableRecord):
        raise DamagedError(
            f"The record of version {version} of the snapshot cannot be read ({record.reason});"
            f" ask its owner to look with `headwater verify`."
        )
    return record


def _cut(
    record: CommitRecord, offsets: Mapping[int, int], version: int, read_version: int
) -> SnapshotCut:
    return SnapshotCut(
        topic=record.topic,
        topic_id=record.topic_id,
        commit_id=record.commit_id,
        offsets=offsets,
        time=datetime.fromtimestamp(record.committed_at_ms / 1_000, UTC),
        version=version,
        read_version=read_version,
        mode=record.mode,
    )
