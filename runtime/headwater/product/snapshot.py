"""The declared policy of a product's snapshots."""

from dataclasses import dataclass
from typing import Final

from headwater.product.durations import duration_ms

MODES: Final = ("append", "latest")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Cut a snapshot `every` so often ("90s", "15m", "1h"), in this mode.

    "append" holds every row of the log, "latest" for each key the row of its newest record.
    `by` divides the table by a column of the contract, or by "_date", the day of the event time:
    readers of few values read few files.
    """

    every: str
    mode: str = "append"
    by: str | None = None

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
    if not _is_name(snapshot.by):
        mistakes.append(
            f"snapshot by={snapshot.by!r} is no column's name; write such as by='_date'"
        )
    return mistakes


def _is_name(value: object) -> bool:
    return value is None or isinstance(value, str)
