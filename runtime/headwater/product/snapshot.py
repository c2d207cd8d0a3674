"""The declared policy of a product's snapshots."""

import re
from dataclasses import dataclass
from typing import Final

from headwater.product.durations import duration_ms

MODES: Final = ("append", "latest")
FORMATS: Final = ("delta", "iceberg", "parquet")
KEEP_MS: Final = 7 * 86_400_000  # a week, as Delta keeps what it removed and Kafka its log
TARGET_BYTES: Final = 128 * 1024 * 1024  # large enough to scan, small enough to skip
_SIZE: Final = re.compile(r"([1-9][0-9]*)(MB|GB)")
_BYTES: Final = {"MB": 1024 * 1024, "GB": 1024 * 1024 * 1024}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Cut a snapshot `every` so often ("90s", "15m", "1h"), in this mode and table format.

    "append" holds every row of the log, "latest" for each key the row of its newest record.
    Tables are of "delta", "iceberg" or "parquet": the one that the product's readers read.
    Small files are merged up to a `target` size ("128MB", "1GB"); a version of the table stays
    readable for `keep` ("7d") after the next one came, a pinned one until it is let go.
    """

    every: str
    mode: str = "append"
    format: str = "delta"
    keep: str = "7d"
    target: str = "128MB"

    @property
    def every_s(self) -> float:
        """The interval in seconds. Only for a snapshot without mistakes."""
        length_ms = duration_ms(self.every)
        if length_ms is None:
            raise ValueError(snapshot_mistakes(self)[0])
        return length_ms / 1_000

    @property
    def keep_ms(self) -> int:
        """How long older versions stay. Only for a snapshot without mistakes."""
        if (length_ms := duration_ms(self.keep)) is None:
            raise ValueError(snapshot_mistakes(self)[0])
        return length_ms

    @property
    def target_bytes(self) -> int:
        """The size of a file that is not small. Only for a snapshot without mistakes."""
        if (size := _size_bytes(self.target)) is None:
            raise ValueError(snapshot_mistakes(self)[0])
        return size


def snapshot_mistakes(snapshot: object) -> list[str]:
    """What is wrong with a policy; empty when it is right."""
    if not isinstance(snapshot, Snapshot):
        return [f"snapshot={snapshot!r} is no policy; write such as Snapshot(every='15m')"]
    mistakes = []
    if duration_ms(snapshot.every) is None:
        mistakes.append(
            f"snapshot every={snapshot.every!r} is no duration; write such as '15m' or '1h'"
        )
    if duration_ms(snapshot.keep) is None:
        mistakes.append(f"snapshot keep={snapshot.keep!r} is no duration; write such as '30d'")
    if _size_bytes(snapshot.target) is None:
        mistakes.append(f"snapshot target={snapshot.target!r} is no size; write such as '128MB'")
    if snapshot.mode not in MODES:
        known = " or ".join(f"mode={each!r}" for each in MODES)
        mistakes.append(f"snapshot mode={snapshot.mode!r} is not known; write {known}")
    if snapshot.format not in FORMATS:
        known = " or ".join(f"format={each!r}" for each in FORMATS)
        mistakes.append(f"snapshot format={snapshot.format!r} is not known; write {known}")
    return mistakes


def _size_bytes(text: object) -> int | None:
    match = _SIZE.fullmatch(str(text))
    return int(match[1]) * _BYTES[match[2]] if match else None
