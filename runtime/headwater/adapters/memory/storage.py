"""One partition's log: records, control records, and what a read_committed reader may see."""

from dataclasses import dataclass, field
from typing import Literal

from headwater.model import Headers, Partition, RawRecord


@dataclass(eq=False, slots=True)
class OpenTransaction:
    """A transaction of one producer: the partitions and group positions it touches."""

    opened_s: float
    state: Literal["open", "committed", "aborted"] = "open"
    is_decided: bool = False  # the commit is written but not yet its control records
    logs: list["PartitionLog"] = field(default_factory=list)
    positions: dict[str, dict[Partition, tuple[int, str]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Content:
    """What a producer says of a record."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One offset: a record (of a transaction, if any) or, without a record, a control record."""

    record: RawRecord | None
    transaction: OpenTransaction | None


class PartitionLog:
    """Entries by offset. A control record takes an offset, as in Kafka."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.beginning = 0
        self._entries: list[Entry] = []
        self._open: dict[OpenTransaction, int] = {}

    @property
    def end(self) -> int:
        """The high watermark."""
        return len(self._entries)

    @property
    def stable_end(self) -> int:
        """The last stable offset: no transaction below it is open."""
        return min(self._open.values(), default=self.end)

    def append(
        self, content: Content, timestamp_ms: int, transaction: OpenTransaction | None = None
    ) -> None:
        """Write one record, invisible until its transaction is committed."""
        if transaction is not None and transaction not in self._open:
            self._open[transaction] = self.end
            transaction.logs.append(self)
        record = RawRecord(
            partition=self.partition,
            offset=self.end,
            timestamp_ms=timestamp_ms,
            key=content.key,
            value=content.value,
            headers=content.headers,
        )
        self._entries.append(Entry(record, transaction))

    def close(self, transaction: OpenTransaction) -> None:
        """Write the control record that ends a transaction."""
        del self._open[transaction]
        self._entries.append(Entry(None, transaction))

    def truncate(self, before: int) -> None:
        """Retention: offsets below `before` are gone."""
        self.beginning = max(self.beginning, before)

    def committed(self) -> list[RawRecord]:
        """Every committed record, those that wait behind an open transaction included."""
        return [e.record for e in self._entries if e.record is not None and _is_visible(e)]

    def read(
        self, position: int, max_records: int, *, stop: int | None = None
    ) -> tuple[list[RawRecord], int]:
        """Committed records from `position` on, and the position behind what was looked at.

        Nothing from the offset `stop` on is looked at.
        """
        found: list[RawRecord] = []
        end = self.stable_end if stop is None else min(stop, self.stable_end)
        while position < end and len(found) < max_records:
            entry = self._entries[position]
            position += 1
            if entry.record is not None and _is_visible(entry):
                found.append(entry.record)
        while position < end and not _is_visible(self._entries[position]):
            position += 1  # control records and aborted ones behind the last record
        return found, position


def _is_visible(entry: Entry) -> bool:
    transaction = entry.transaction
    return entry.record is not None and (transaction is None or transaction.state == "committed")
