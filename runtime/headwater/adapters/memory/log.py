"""The transactional producer in memory (the port `TransactionalLog`)."""

from collections.abc import Mapping, Sequence
from typing import cast

from headwater.adapters.memory.broker import MemoryBroker, Producer
from headwater.adapters.memory.faults import LostCommit, Operation, Partial
from headwater.adapters.memory.groups import Token
from headwater.adapters.memory.storage import Content, OpenTransaction
from headwater.errors import (
    AbortableError,
    FatalError,
    HeadwaterError,
    RecycleError,
    RetriableError,
)
from headwater.model import Letter, Partition, Positions
from headwater.ports import CommitOutcome, GroupToken


class MemoryTransactionalLog:
    """One client of a MemoryBroker; a later one with the same id fences it."""

    def __init__(self, broker: MemoryBroker, *, transactional_id: str) -> None:
        self._broker = broker
        self._id = transactional_id
        self._epoch: int | None = None
        self._failure: HeadwaterError | None = None  # what every call answers from now on
        self._doubtful = False
        self._is_gone = False
        self._published: dict[Partition, int] = {}

    def vanish(self) -> None:
        """The process dies: nothing of this client reaches the broker any more."""
        self._is_gone = True

    def initialise(self) -> None:
        """Fence older processes of this id and finish or abort what they left."""
        self._broker.faults.take("initialise")
        self._broker.expire_transactions()
        self._epoch = self._broker.take_over(self._id)
        self._failure, self._doubtful = None, False
        self._published = {}

    def begin(self) -> None:
        """Open a transaction."""
        producer = self._call("begin")
        if producer.transaction is not None:
            raise self._remember(RecycleError("a transaction is open already"))
        producer.transaction = OpenTransaction(self._broker.clock.monotonic())
        self._doubtful = False
        self._published = {}

    def produce(self, topic: str, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Publish columns of keys and framed values, partitioned by key."""
        self._publish(topic, [Content(k, v) for k, v in zip(keys, values, strict=True)])

    def produce_to(
        self,
        topic: str,
        partitions: Sequence[int],
        keys: Sequence[bytes],
        values: Sequence[bytes | None],
    ) -> None:
        """Publish columns into given partitions."""
        contents = [Content(k, v) for k, v in zip(keys, values, strict=True)]
        self._publish(topic, contents, partitions)

    def published(self) -> Positions:
        """The next offsets behind what `produce_to` published."""
        return dict(self._published)

    def produce_letters(self, topic: str, letters: Sequence[Letter]) -> None:
        """Publish records with headers."""
        self._publish(topic, [Content(x.key, x.value, tuple(x.headers)) for x in letters])

    def send_offsets(
        self, positions: Positions, notes: Mapping[Partition, str], group: GroupToken
    ) -> None:
        """Put input positions into the transaction, each with its note as metadata."""
        transaction = self._open(self._call("send_offsets"))
        token = cast("Token", group)
        try:
            self._broker.check_token(token)
        except HeadwaterError as error:
            raise self._remember(error) from None
        held = transaction.positions.setdefault(token.group, {})
        held.update({partition: (at, notes[partition]) for partition, at in positions.items()})

    def commit(self) -> CommitOutcome:
        """Commit; UNKNOWN when no answer came."""
        producer, fault = self._call_with_fault("commit")
        transaction = self._open(producer)
        if isinstance(fault, LostCommit):
            self._remember(RecycleError("the last commit was not answered"))
            transaction.is_decided = fault is LostCommit.MARKERS
        if fault not in {LostCommit.REQUEST, LostCommit.MARKERS}:
            self._broker.end(producer, is_commit=True)
        return CommitOutcome.COMMITTED if fault is None else CommitOutcome.UNKNOWN

    def abort(self) -> None:
        """Abort the open transaction."""
        if isinstance(self._failure, AbortableError):
            self._failure = None
        self._broker.end(self._call("abort"), is_commit=False)

    def recycle(self) -> None:
        """Throw the client away, make a new one with the same id and initialise it."""
        self._epoch = None
        self.initialise()

    def poll(self) -> None:
        """Nothing to tell."""

    def is_doubtful(self) -> bool:
        """Whether a call since `begin` was not answered."""
        return self._doubtful

    def close(self) -> None:
        """Abort what is open and let go."""
        if self._is_gone or self._epoch is None or isinstance(self._failure, RecycleError):
            return
        producer = self._broker.producers[self._id]
        if producer.epoch == self._epoch:
            self._broker.end(producer, is_commit=False)

    # -- steps ---------------------------------------------------------------------------------

    def _publish(
        self, topic: str, contents: Sequence[Content], partitions: Sequence[int] = ()
    ) -> None:
        """Into the given partitions, or where the keys send the records."""
        producer, fault = self._call_with_fault("produce")
        transaction = self._open(producer)
        accepted = fault.accepted if isinstance(fault, Partial) else len(contents)
        for place, content in enumerate(contents[:accepted]):
            if not partitions:
                self._broker.write(topic, content, transaction=transaction)
                continue
            partition = Partition(topic, partitions[place])
            self._published[partition] = self._broker.write_to(partition, content, transaction)
        if accepted < len(contents):
            raise self._remember(
                AbortableError(f"{topic}: {len(contents) - accepted} records were not accepted")
            )

    def _call(self, operation: Operation) -> Producer:
        return self._call_with_fault(operation)[0]

    def _call_with_fault(
        self, operation: Operation
    ) -> tuple[Producer, LostCommit | Partial | None]:
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))
        if self._epoch is None:
            raise RecycleError("the producer is not initialised")
        try:
            fault = self._broker.faults.take(operation)
            return self._broker.producer(self._id, self._epoch), fault
        except HeadwaterError as error:
            raise self._remember(error) from None

    def _open(self, producer: Producer) -> OpenTransaction:
        if producer.transaction is None:
            raise self._remember(RecycleError("no transaction is open"))
        return producer.transaction

    def _remember(self, error: HeadwaterError) -> HeadwaterError:
        """A client that failed so answers the same until it is aborted or recycled."""
        if isinstance(error, AbortableError | RecycleError | FatalError):
            self._failure = error
        self._doubtful |= isinstance(error, RetriableError)
        return error
