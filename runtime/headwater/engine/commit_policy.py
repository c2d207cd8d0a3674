"""When a transaction ends. Frozen data; time is an argument."""

from dataclasses import dataclass
from typing import Final

MAX_RECORDS: Final = (
    200_000  # input records: bounds what a crash repeats and what the producer holds
)
MAX_BYTES: Final = 128 * 2**20


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """Commit every `interval_s` seconds, sooner when a transaction grows large."""

    interval_s: float = 0.1
    max_records: int = MAX_RECORDS
    max_bytes: int = MAX_BYTES

    def is_due(self, *, elapsed_s: float, records: int, size: int) -> bool:
        """Whether to commit now: seconds since the last commit, records and bytes staged since."""
        return elapsed_s >= self.interval_s or records >= self.max_records or size >= self.max_bytes

    def wait_s(self, elapsed_s: float, *, is_idle: bool) -> float:
        """Seconds a poll may wait for more: until the next commit is due; if idle, for any."""
        left_s = self.interval_s - elapsed_s
        return self.interval_s if is_idle and left_s <= 0.0 else max(0.0, left_s)
