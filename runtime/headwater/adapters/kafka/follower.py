"""Topics that are read whole and then followed (the port `TopicFollower`)."""

from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headwater.adapters.kafka.reader import FIXED, by_partition
from headwater.adapters.kafka.records import KafkaRecords, offset_of
from headwater.adapters.kafka.triage import AWAY, GONE, configured, translate
from headwater.errors import FatalError
from headwater.model import Partition, Positions
from headwater.ports import Records


class KafkaFollower:
    """A consumer with manual assignment, in no group. `config` holds client properties."""

    def __init__(self, config: Mapping[str, str]) -> None:
        self._consumer = configured(lambda: Consumer({**config, **FIXED}))
        self._next: dict[Partition, int] = {}

    def assign(self, positions: Positions) -> None:
        """Read exactly these partitions from now on, from these offsets."""
        self._next = dict(positions)
        self._consumer.assign(
            [TopicPartition(p.topic, p.index, offset) for p, offset in positions.items()]
        )

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Records]:
        """Records in log order per partition; empty when none came in time.

        Raises FatalError (TABLE_TRUNCATED) when the log no longer holds what follows, and what
        `translate` makes of an error that the client does not mend itself.
        """
        try:
            messages = self._consumer.consume(max_records, timeout_s)
        except KafkaException as cause:
            raise translate(cause, doing="reading a table") from cause
        found: list[Records] = []
        for partition, run in by_partition(messages).items():
            records = [message for message in run if self._is_record(partition, message)]
            if records:
                found.append(KafkaRecords(partition.topic, records, partition))
                self._next[partition] = max(self._next[partition], offset_of(records[-1]) + 1)
        return found

    def pause(self) -> None:
        """Stop fetching."""
        self._consumer.pause(self._places())

    def resume(self) -> None:
        """Undo `pause`."""
        self._consumer.resume(self._places())

    def positions(self) -> Positions:
        """The next offset of each partition; control records at an end are passed."""
        return dict(self._next)

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(p.topic, p.index) for p in self._next]

    def _is_record(self, partition: Partition, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._next[partition] = max(self._next[partition], offset_of(message))
        elif error.code() in GONE:
            raise FatalError(
                f"{partition} was cut short while it was followed; start again, the table is then"
                " read anew",
                code="TABLE_TRUNCATED",
            )
        elif error.code() not in AWAY or error.fatal():
            raise translate(error, doing=f"reading the table {partition}")
        return False
