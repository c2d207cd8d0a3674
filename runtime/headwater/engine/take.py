"""How many records a poll takes: few enough for memory, and for the bound of a step.

After starts in vain nobody knows what ended them; it may have been no record, but their number.
Then one is taken, and twice as many after each batch that went well: whatever the bound allows,
some come through.
"""

from typing import Final

from headwater.engine.work import Work
from headwater.observe.logs import get_logger

GROWTH: Final = 2  # times, after a batch that went well
SLOW_SHARE: Final = 1 / 3  # of a step's bound: twice as many records would still stay within it

log = get_logger("take")


class Take:
    """The size of the next poll: at most `poll_size` records, of about `batch_bytes` together.

    `step_timeout_s` is how long a step may take over one batch.
    """

    def __init__(self, *, poll_size: int, batch_bytes: int, step_timeout_s: float) -> None:
        self._poll_size = poll_size
        self._batch_bytes = batch_bytes
        self._slow_s = step_timeout_s * SLOW_SHARE
        self._tried = poll_size  # so many are not too many, as far as we know
        self._has_told = False
        self.records: int = poll_size

    def begin_small(self) -> None:
        """Nothing is known of what this process can take at once: grow from one record."""
        self._tried = self.records = 1

    def worked(self, work: Work, seconds: float) -> None:
        """A batch was processed in so many seconds: decide on the next one."""
        if seconds <= self._slow_s:
            self._tried = min(self._poll_size, max(self._tried, GROWTH * work.read))
        else:
            self._tell(work, seconds)
        average = max(1, work.size // max(1, work.read))
        self.records = max(1, min(self._tried, self._batch_bytes // average))

    def _tell(self, work: Work, seconds: float) -> None:
        """Once; what is slow today is too slow on a busy machine, or with a longer backlog."""
        if self._has_told:
            return
        self._has_told = True
        log.warning(
            "take.slow",
            topic=work.topic,
            records=work.read,
            seconds=round(seconds, 1),
            todo="raise step_timeout or lower poll_size",
        )
