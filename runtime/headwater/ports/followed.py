"""Topics that are read whole and then followed, outside any consumer group."""

from collections.abc import Sequence
from typing import Protocol

from headwater.model import Positions
from headwater.ports.log import Records


class TopicFollower(Protocol):
    """Reads committed records of every partition it was given last.

    Every method may raise RetriableError, StartRefusedError or FatalError.
    """

    def assign(self, positions: Positions) -> None:
        """Read exactly these partitions from now on, from these offsets."""
        ...

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Records]:
        """Records in log order per partition; empty when none came in time."""
        ...

    def pause(self) -> None:
        """Stop fetching."""
        ...

    def resume(self) -> None:
        """Undo `pause`."""
        ...

    def positions(self) -> Positions:
        """The next offset of each partition; control records at an end are passed."""
        ...

    def close(self) -> None:
        """Let go of the client."""
        ...
