"""Follows topics of a MemoryBroker (the port `TopicFollower`)."""

from collections.abc import Sequence

from headwater.adapters.memory.broker import MemoryBroker
from headwater.adapters.memory.reader import MemoryRecords
from headwater.model import Partition, Positions
from headwater.ports import Records


class MemoryFollower:
    """Reads what is committed; a poll that finds nothing moves the broker's clock on."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._next: dict[Partition, int] = {}
        self._is_paused = False

    def assign(self, positions: Positions) -> None:
        """Read exactly these partitions from now on, from these offsets."""
        self._next = dict(positions)

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Records]:
        """Records in log order per partition; empty when there are none."""
        self._broker.expire_transactions()
        found: list[Records] = []
        left = 0 if self._is_paused else max_records
        for partition, position in self._next.items():
            if left:
                records, self._next[partition] = self._broker.partition(partition).read(
                    position, left
                )
                left -= len(records)
                found += [MemoryRecords(partition.topic, records)] if records else []
        if not found:
            self._broker.clock.advance(timeout_s)
        return found

    def pause(self) -> None:
        """Stop fetching."""
        self._is_paused = True

    def resume(self) -> None:
        """Undo `pause`."""
        self._is_paused = False

    def positions(self) -> Positions:
        """The next offset of each partition; control records at an end are passed."""
        return dict(self._next)

    def close(self) -> None:
        """Nothing to let go of."""
