"""The declared policy of a product's snapshots."""

from dataclasses import dataclass
from typing import Final

from headwater.product.durations import duration_ms

MODES: Final = ("append", "latest")
FORMATS: Final = ("delta", "iceberg", "parquet")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Cut a snapshot `every` so often ("90s", "15m", "1h"), in this mode and table format.

    "append" holds every row of the log, "latest" for each key the row of its newest record.
    Tables are of "delta", "iceberg" or "parquet": the one that the product's readers read.
    """

    every: str
    mode: str = "append"
    format: str = "delta"

    @property
    def every_s(self) -> float:
        """The interval in seconds. Only for a snapshot without mistakes."""
        length_ms = duration_ms(self.every)
        if length_ms is None:
            raise ValueError(snapshot_mistakes(self)[0])
        return length_ms / 1_000


def snapshot_mistakes(snapshot: object) -> list[str]:
    """What is wrong with a policy; empty when it is right."""
    if not isinstance(snapshot, Snapshot):
        return [f"snapshot={snapshot!r} is no policy; write such as Snapshot(every='15m')"]
    mistakes = []
    if duration_ms(snapshot.every) is None:
        mistakes.append(
            f"snapshot every={snapshot.every!r} is no duration; write such as '15m' or '1h'"
        )
    if snapshot.mode not in MODES:
        known = " or ".join(f"mode={each!r}" for each in MODES)
        mistakes.append(f"snapshot mode={snapshot.mode!r} is not known; write {known}")
    if snapshot.format not in FORMATS:
        known = " or ".join(f"format={each!r}" for each in FORMATS)
        mistakes.append(f"snapshot format={snapshot.format!r} is not known; write {known}")
    return mistakes
