"""How a keyed store is set up, and what it hands over."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class TimeToLive:
    """A row is gone `duration` after the event time in its `column`; without a time it stays."""

    column: str
    duration: timedelta


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`cache_bytes` is for all tasks of the store together.

    `changelog_id` is the broker's id of the changelog topic, of which the marks tell the offsets.
    """

    changelog_id: str
    cache_bytes: int = 128 << 20  # a million entries of 60 bytes take 85 MB
    flush_every_s: float = 5.0  # a restart reads so much of the changelog again
    time_to_live: TimeToLive | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch changed, for the changelog: columns of equal length; a key once per task."""

    partitions: list[int]
    keys: list[bytes]
    values: list[bytes | None]
