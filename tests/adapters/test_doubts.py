"""What Kafka's source makes of what its client says, or does not: a test says it instead."""

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from headwater.adapters.kafka import consumer
from headwater.adapters.kafka.consumer import KafkaSource
from headwater.errors import StartRefusedError
from headwater.model import Partition, Positions

HERE = Partition("in", 0)
DAMAGE, GONE = KafkaError._BAD_MSG, KafkaError._AUTO_OFFSET_RESET


def said(offset: int, error: int | None = None) -> Message:
    """A record at an offset, or an error."""
    return Message(
        topic=HERE.topic,
        partition=HERE.index,
        offset=offset,
        value=b"",
        timestamp=(1, 0),
        error=None if error is None else KafkaError(error),
    )


class ScriptedClient:
    """Assigns one partition, then brings what the script says, poll by poll."""

    script: Sequence[Sequence[Message]] = ()
    joins_after = 0  # polls

    def __init__(self, *_: Any, **__: Any) -> None:
        self._left = list(self.script)
        self._on_assign: Any = None
        self.sought: list[int] = []
        self.waited: list[float] = []
        self.is_paused = False

    def subscribe(self, _: list[str], *, on_assign: Any, **__: Any) -> None:
        self._on_assign = on_assign

    def consume(self, _: int, timeout_s: float) -> list[Message]:
        self.waited.append(timeout_s)
        if len(self.waited) <= self.joins_after:
            return []
        if self._on_assign is not None:
            assign, self._on_assign = self._on_assign, None
            assign(self, [TopicPartition(HERE.topic, HERE.index)])
            return []
        return list(self._left.pop(0))

    def consumer_group_metadata(self) -> object:
        return object()

    def assign(self, _: list[TopicPartition]) -> None: ...

    def seek(self, target: TopicPartition) -> None:
        self.sought.append(target.offset)

    def pause(self, _: list[TopicPartition]) -> None:
        self.is_paused = True

    def resume(self, _: list[TopicPartition]) -> None:
        self.is_paused = False
        self.sought.clear()


class FromTheStart:
    """Begins every partition at 0."""

    def assigned(self, partitions: Sequence[Partition]) -> Positions:
        return dict.fromkeys(partitions, 0)

    def revoked(self, partitions: Sequence[Partition]) -> None: ...

    def lost(self, partitions: Sequence[Partition]) -> None: ...


def reading(monkeypatch: pytest.MonkeyPatch, *script: Sequence[Message]) -> KafkaSource:
    """A source that holds the partition, and will hear of this."""
    monkeypatch.setattr(ScriptedClient, "script", script)
    monkeypatch.setattr(consumer, "Consumer", ScriptedClient)
    source = KafkaSource({}, group="g", member="m")
    source.subscribe([HERE.topic], FromTheStart())
    source.poll(10, 0.0)
    return source


def test_damage_that_comes_twice_is_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it may have been the way: it is fetched again from where it began."""
    source = reading(monkeypatch, [said(0), said(1, DAMAGE)], [said(1, GONE)])
    (batch,) = source.poll(10, 0.0)
    assert len(batch) == 1
    assert source.corrupt() == {}
    assert source.poll(10, 0.0) == []
    assert source.corrupt() == {HERE: 1}


def test_a_position_that_is_gone_behind_healed_damage_is_a_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second fetch brought the records: what happens there later has another cause."""
    source = reading(
        monkeypatch,
        [said(0, DAMAGE)],
        [said(0), said(1)],
        [said(2, GONE)],
    )
    assert source.poll(10, 0.0) == []
    (batch,) = source.poll(10, 0.0)
    assert len(batch) == 2
    with pytest.raises(StartRefusedError) as refused:
        source.poll(10, 0.0)
    assert refused.value.code == "DATA_LOSS"
    assert source.corrupt() == {}


def test_the_first_assignment_is_heard_while_a_poll_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would wait on for records: a restart would stand still for as long."""
    monkeypatch.setattr(ScriptedClient, "joins_after", 3)
    monkeypatch.setattr(ScriptedClient, "script", [[said(0)]])
    monkeypatch.setattr(consumer, "Consumer", ScriptedClient)
    source = KafkaSource({}, group="g", member="m")
    source.subscribe([HERE.topic], FromTheStart())
    assert source.poll(10, 60.0) == ()
    assert source.assignment() == {HERE}
    source.poll(10, 60.0)
    client: Any = source._consumer
    assert client.waited == [consumer.JOINING_S] * 4 + [60.0]


def test_what_is_resumed_is_sought_where_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client asleep over paused partitions looks for resumed ones once a second; a seek wakes."""
    source = reading(monkeypatch, [said(0), said(1)])
    source.poll(10, 0.0)
    source.pause()
    source.resume()
    client: Any = source._consumer
    assert not client.is_paused
    assert client.sought == [2]


def test_what_went_while_it_was_paused_is_resumed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client keeps it paused until it comes back, whatever was paused again in between."""

    class Moved(ScriptedClient):
        def unassign(self) -> None: ...

        def resume(self, partitions: list[TopicPartition]) -> None:
            self.resumed = {each.partition for each in partitions}

    monkeypatch.setattr(Moved, "script", [[]])
    monkeypatch.setattr(consumer, "Consumer", Moved)
    source = KafkaSource({}, group="g", member="m")
    source.subscribe([HERE.topic], FromTheStart())
    source.poll(10, 0.0)
    source.pause()
    client: Any = source._consumer
    source._on_revoke(client, [TopicPartition(HERE.topic, HERE.index)])
    source._on_assign(client, [TopicPartition(HERE.topic, 1)])
    source.poll(10, 0.0)
    source.pause()
    source.resume()
    assert client.resumed == {HERE.index, 1}
