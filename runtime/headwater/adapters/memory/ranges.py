"""Exact ranges of a MemoryBroker's topics (the port `LogReader`)."""

from collections.abc import Iterator, Mapping

from headwater.adapters.memory.broker import MemoryBroker
from headwater.adapters.memory.reader import MemoryLogReader
from headwater.model import Partition
from headwater.ports import Records


class MemoryRangeReader:
    """Reads what is committed at the moment of the call."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def read(
        self, ranges: Mapping[Partition, tuple[int, int]], *, max_records: int
    ) -> Iterator[Records]:
        """Every committed record of `[start, end)`, each `Records` of one partition, in order.

        Raises UnverifiableError (RANGE_LOST) when the log does not hold a range.
        """
        self._broker.expire_transactions()
        logs = {partition: self._broker.partition(partition) for partition in ranges}
        reader = MemoryLogReader(
            {p: log.read(log.beginning, log.end)[0] for p, log in logs.items()},
            {p: (log.beginning, log.stable_end) for p, log in logs.items()},
        )
        return reader.read(ranges, max_records=max_records)

    def close(self) -> None:
        """Nothing to let go of."""
