"""The end of a group member while the group rebalances."""

import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final, cast
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from headwater.adapters.kafka import closing, consumer
from headwater.adapters.kafka.consumer import KafkaSource
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.embedded import Addresses
from headwater.model import Partition, Positions
from headwater.ports import TopicSettings

IN_TIME_S: Final = 60.0  # the interpreter, its libraries and a join, on a crowded machine

MEMBER: Final = """
import sys, time
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient
from headwater.adapters.kafka.consumer import KafkaSource

address, topic = sys.argv[1:]

class Late(KafkaSource):
    def _on_assign(self, *told):
        time.sleep(0.2)  # a machine so busy that the client's own threads are far ahead
        super()._on_assign(*told)

class Listener:
    def assigned(self, partitions): return dict.fromkeys(partitions, 0)
    def revoked(self, partitions): ...
    def lost(self, partitions): ...

source = Late({"bootstrap.servers": address}, group=topic, member="one")
source.subscribe([topic], Listener())
admin = AdminClient({"bootstrap.servers": address})
def stable():
    found = admin.list_consumer_groups(states={ConsumerGroupState.STABLE}).result().valid
    return {group.group_id for group in found}

while topic not in stable():
    time.sleep(0.05)
assert not source.assignment(), "it heard of its assignment already"
source.close()
"""


@pytest.mark.kafka
def test_a_member_ends_with_an_assignment_it_did_not_hear_of(stack: Addresses) -> None:
    """In a process of its own, for the client stops every thread where this goes wrong."""
    topic = f"closing.{uuid4().hex}"
    KafkaTopics({"bootstrap.servers": stack.kafka}).create([TopicSettings(topic, 2, "log")])
    command = [sys.executable, "-c", MEMBER, stack.kafka, topic]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=IN_TIME_S, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


class Dying:
    """A client with an assignment that it tells when it is asked, or not before it closes."""

    tells_when_asked = False
    fails = False

    def __init__(self, *_: Any, **__: Any) -> None:
        self._on_assign: Any = None
        self.assigned: list[Sequence[TopicPartition]] = []
        self.is_closed = False
        self.heard = threading.Event()

    def subscribe(self, _: list[str], *, on_assign: Any, **__: Any) -> None:
        self._on_assign = on_assign

    def pause(self, _: list[TopicPartition]) -> None: ...

    def consume(self, *_: Any) -> list[Any]:
        if self.fails:
            raise KafkaException("fenced")
        if self.tells_when_asked:
            self._tell()
        return []

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned.append(partitions)

    def close(self) -> None:
        self.is_closed = True
        if self._on_assign is not None:
            self._tell()

    def _tell(self) -> None:
        tell, self._on_assign = self._on_assign, None
        self.heard.set()
        tell(self, [TopicPartition("in", 0)])


class Silent:
    """Hears nothing from a source that closes."""

    def assigned(self, partitions: Sequence[Partition]) -> Positions:
        raise AssertionError(partitions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        raise AssertionError(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        raise AssertionError(partitions)


def _closed(monkeypatch: pytest.MonkeyPatch, client: type[Dying]) -> Dying:
    monkeypatch.setattr(consumer, "Consumer", client)
    source = KafkaSource({}, group="readers", member="one")
    source.subscribe(["in"], Silent())
    source.close()
    source.close()  # may be repeated
    return cast("Dying", source._consumer)


def test_what_is_told_before_the_end_is_answered_with_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An assignment that waits is taken note of while the client can still be asked."""

    class Asked(Dying):
        tells_when_asked = True

    client = _closed(monkeypatch, Asked)
    assert client.is_closed
    assert client.assigned == [[]]


def test_a_client_that_tells_while_it_closes_is_asked_nothing_and_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call would never return, and hold Python's lock: no thread would run any more."""
    client = _closed(monkeypatch, Dying)
    assert client.heard.is_set()
    assert not client.assigned


def test_a_client_that_cannot_be_asked_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was fenced raises at every call."""

    class Fenced(Dying):
        fails = True

    assert _closed(monkeypatch, Fenced).is_closed


def test_a_client_that_fails_to_close_is_told_with_a_code(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for the thread: what ends it would be a stack trace on the user's terminal."""

    class Refused(Dying):
        def close(self) -> None:
            self.is_closed = True
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer"))

    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    with caplog.at_level(logging.WARNING, "headwater.kafka"):
        client = _closed(monkeypatch, Refused)
    assert client.is_closed
    assert not told
    (line,) = caplog.messages
    assert line.startswith("UNAVAILABLE: ")
    assert "leaving the group" in line


def test_a_client_that_does_not_come_back_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What still runs of it ends with the process."""
    back = threading.Event()

    class Lost(Dying):
        def close(self) -> None:
            back.wait()
            self.is_closed = True

    monkeypatch.setattr(closing, "CLOSE_S", 0.01)
    client = _closed(monkeypatch, Lost)
    assert not client.is_closed
    back.set()
