"""Messages of librdkafka as columns. Touches a single message only when asked for that row."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Final, cast

from confluent_kafka import Message

from headwater.model import UNREADABLE_HEADERS, Headers, Partition, Positions, RawRecord

_TIME: Final = itemgetter(1)  # of what a message tells of its time: the kind comes first


class KafkaRecords:
    """Consecutive messages of one topic (the port `Records`). Holds no error messages.

    `of` is their partition where all are of one: then none is asked for it.
    """

    def __init__(
        self, topic: str, messages: Sequence[Message], of: Partition | None = None
    ) -> None:
        self.topic = topic
        self._messages = messages
        self._of = of
        # map over the C method: a third cheaper than a comprehension, and this runs per event
        self.values: Sequence[bytes | None] = list(map(Message.value, messages))

    def __len__(self) -> int:
        return len(self._messages)

    @cached_property
    def last_messages(self) -> dict[Partition, Message]:
        """The last message per partition."""
        if self._of is not None:
            return {self._of: self._messages[-1]}
        last = dict(zip(map(Message.partition, self._messages), self._messages, strict=True))
        return {Partition(self.topic, partition_of(each)): each for each in last.values()}

    def ends(self) -> Positions:
        """The next offset per partition after these records."""
        return {p: offset_of(message) + 1 for p, message in self.last_messages.items()}

    def raw(self, row: int) -> RawRecord:
        """One record with everything."""
        message = self._messages[row]
        return RawRecord(
            partition=Partition(self.topic, partition_of(message)),
            offset=offset_of(message),
            timestamp_ms=message.timestamp()[1],
            key=message.key(),
            value=message.value(),
            headers=self._headers.get(row, ()),
        )

    def keys(self) -> Sequence[bytes | None]:
        """The keys."""
        return self._keys

    @cached_property
    def _keys(self) -> Sequence[bytes | None]:
        return list(map(Message.key, self._messages))

    def headers(self) -> Mapping[int, Headers]:
        """The headers of the rows that have some."""
        return self._headers

    @cached_property
    def _headers(self) -> Mapping[int, Headers]:
        found: list[Headers | None] = []
        messages = iter(self._messages)
        while len(found) < len(self._messages):
            try:
                found.extend(cast("Iterator[Headers | None]", map(Message.headers, messages)))
            except SystemError:
                # A name that is not UTF-8. What the client gives when it is asked again, be it for
                # this message alone, ends the process: it holds a null pointer.
                found.append(UNREADABLE_HEADERS)
        if not any(found):
            return {}
        return {row: each for row, each in enumerate(found) if each}

    def partitions(self) -> Sequence[int]:
        """The partition index of each record."""
        return cast("list[int]", list(map(Message.partition, self._messages)))

    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        return self._offsets

    @cached_property
    def _offsets(self) -> Sequence[int]:
        return cast("list[int]", list(map(Message.offset, self._messages)))

    def timestamps_ms(self) -> Sequence[int]:
        """The publish time of each record."""
        return list(map(_TIME, map(Message.timestamp, self._messages)))


def offset_of(message: Message) -> int:
    """The offset of a message that came from a broker."""
    return cast("int", message.offset())


def partition_of(message: Message) -> int:
    """The partition index of a message that came from a broker."""
    return cast("int", message.partition())


def place_of(message: Message) -> Partition:
    """The partition of a message that came from a broker."""
    return Partition(cast("str", message.topic()), partition_of(message))
