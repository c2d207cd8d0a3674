"""Partitions that stand still: what no reader could read is not a bad record.

Records before the place are processed and committed, the partition stays there, the others go on.
Nothing of it is remembered: after a restart or a rebalance the same record tells the same again.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from headwater.clock import Clock
from headwater.contract import DecodedTypes
from headwater.errors import HaltedError, RetriableError
from headwater.model import Halt, HaltCode, Partition, Positions
from headwater.ports import Monitor, Records, RecordSource

ENDS_EVERY_S: Final = 5.0  # as often as a metric is scraped, more or less
CORRUPT: Final = "the stored record batch fails its checksum or cannot be decompressed"


def unreadable(records: Records, decoded: DecodedTypes) -> Sequence[Halt]:
    """Where the partitions stand still: at their first record of an unreadable schema each."""
    reasons = {each.row: each.message for each in decoded.quarantined}
    partitions, offsets = records.partitions(), records.offsets()
    first: dict[int, Halt] = {}
    for row in decoded.unreadable:
        index = partitions[row]
        if index not in first:
            where = Partition(records.topic, index)
            first[index] = Halt(where, offsets[row], HaltCode.INCOMPATIBLE_SCHEMA, reasons[row])
    return list(first.values())


def rows_before(records: Records, halts: Sequence[Halt]) -> Sequence[int]:
    """The rows that are processed all the same: all but those from a halt on in its partition."""
    stops = {halt.partition.index: halt.offset for halt in halts}
    places = zip(records.partitions(), records.offsets(), strict=True)
    return [
        row
        for row, (index, offset) in enumerate(places)
        if index not in stops or offset < stops[index]
    ]


class Halted:
    """The halted partitions among those held: the source stands still there, the monitor knows."""

    def __init__(self, source: RecordSource, monitor: Monitor, clock: Clock) -> None:
        self._source = source
        self._monitor = monitor
        self._clock = clock
        self._asked_s = clock.monotonic()
        self._halts: dict[Partition, Halt] = {}

    def add(self, halts: Iterable[Halt]) -> None:
        """Stand still at these from now on."""
        new = {halt.partition: halt for halt in halts}
        self._source.halt({partition: halt.offset for partition, halt in new.items()})
        self._halts |= new
        self._tell()

    def _add_corrupt(self) -> None:
        """Stand still where the source met stored records that cannot be read."""
        found = {p: at for p, at in self._source.corrupt().items() if p not in self._halts}
        if found:
            self.add(Halt(p, at, HaltCode.CORRUPT_RECORD, CORRUPT) for p, at in found.items())

    def look(self) -> None:
        """Once a turn: new corrupt places, and now and then how far the halted ones lie behind."""
        self._add_corrupt()
        if self._halts and self._clock.monotonic() - self._asked_s > ENDS_EVERY_S:
            self._asked_s = self._clock.monotonic()
            try:
                self._monitor.ends(self._source.ends(self._halts))
            except RetriableError:
                return  # the lag is as old as before: whoever needs the broker waits for it

    def clear(self) -> None:
        """Every partition was sought back: what halted one shows again."""
        self.let_go(tuple(self._halts))

    def let_go(self, partitions: Iterable[Partition]) -> None:
        """These are no longer ours."""
        if self._halts:
            for partition in partitions:
                self._halts.pop(partition, None)
            self._tell()

    def refuse_end(self, targets: Positions) -> None:
        """An end with halted partitions before their targets is none. Raises HaltedError."""
        short = [h for p, h in sorted(self._halts.items()) if h.offset < targets.get(p, 0)]
        if short:
            raise halted_error(short)

    def __contains__(self, partition: object) -> bool:
        return partition in self._halts

    def _tell(self) -> None:
        self._monitor.halted(sorted(self._halts.values(), key=lambda halt: halt.partition))


def halted_error(halts: Sequence[Halt]) -> HaltedError:
    """The end of a run that cannot go on: every place, and the code of the first."""
    return HaltedError("; ".join(map(str, halts)), code=halts[0].code)
