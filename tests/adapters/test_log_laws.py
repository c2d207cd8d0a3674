"""The laws of the event log, which Kafka and the broker in memory obey alike."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from uuid import uuid4

import pytest

from headwater.adapters.kafka.consumer import KafkaSource
from headwater.adapters.kafka.producer import KafkaTransactionalLog
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.memory import (
    MemoryBroker,
    MemorySource,
    MemoryTopics,
    MemoryTransactionalLog,
    Partial,
)
from headwater.adapters.memory.partitioner import partition_of
from headwater.embedded import Addresses
from headwater.errors import (
    AbortableError,
    FencedError,
    RetriableError,
    StartRefusedError,
    UnavailableError,
)
from headwater.model import Letter, Partition, Positions, RawRecord
from headwater.ports import (
    CommitOutcome,
    GroupToken,
    Records,
    RecordSource,
    Topics,
    TopicSettings,
    TransactionalLog,
)

POLL_S = 0.1
POLLS = 200  # of the real broker: twenty seconds


class Listener:
    """Begins where the group stands, else at 0; remembers what it heard."""

    def __init__(self, source: RecordSource) -> None:
        self.source = source
        self.heard: list[tuple[str, list[Partition]]] = []
        self.refusals: list[Exception] = []

    def assigned(self, partitions: Sequence[Partition]) -> Positions:
        if self.refusals:
            raise self.refusals.pop()
        self.heard.append(("assigned", sorted(partitions)))
        return {p: self.source.committed([p]).get(p, 0) for p in partitions}

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self.heard.append(("revoked", sorted(partitions)))

    def lost(self, partitions: Sequence[Partition]) -> None:
        self.heard.append(("lost", sorted(partitions)))


class Member:
    """A source, its listener, and everything it polled."""

    def __init__(self, source: RecordSource) -> None:
        self.source = source
        self.listener = Listener(source)
        self.records: list[RawRecord] = []

    def poll(self, max_records: int = 1000) -> Sequence[Records]:
        batches = self.source.poll(max_records, POLL_S)
        self.records += [batch.raw(row) for batch in batches for row in range(len(batch))]
        return batches

    def values(self) -> dict[Partition, list[bytes | None]]:
        found: defaultdict[Partition, list[bytes | None]] = defaultdict(list)
        for record in self.records:
            found[record.partition].append(record.value)
        return found


class Outside:
    """One kind of broker, and everything a test opens on it."""

    def __init__(
        self,
        topics: Topics,
        new_source: Callable[[str, str], RecordSource],
        new_log: Callable[[str], TransactionalLog],
    ) -> None:
        self.topics = topics
        self.new_source = new_source
        self.new_log = new_log
        self.prefix = f"laws.{uuid4().hex[:10]}"
        self.opened: list[RecordSource | TransactionalLog] = []

    def topic(self, name: str, partitions: int = 2) -> str:
        full = f"{self.prefix}.{name}"
        self.topics.create([TopicSettings(full, partitions, "log")])
        return full

    def log(self, name: str = "writer") -> TransactionalLog:
        log = self.new_log(f"{self.prefix}.{name}")
        self.opened.append(log)
        log.initialise()
        return log

    def source(self, group: str, member: str) -> RecordSource:
        source = self.new_source(f"{self.prefix}.{group}", f"{self.prefix}.{member}")
        self.opened.append(source)
        return source

    def member(self, *topics: str, group: str = "readers", member: str = "one") -> Member:
        found = Member(self.source(group, member))
        found.source.subscribe(topics, found.listener)
        return found

    def group_offsets(self, topic: str, group: str = "readers") -> Positions:
        return self.topics.group_offsets(f"{self.prefix}.{group}", topic)

    def write(self, topic: str, *values: bytes) -> None:
        """One committed transaction; the key of a record is its value."""
        log = self.log(f"fill-{uuid4().hex[:6]}")
        log.begin()
        log.produce(topic, values, values)
        assert log.commit() is CommitOutcome.COMMITTED

    def settled(self, topic: str) -> Positions:
        """The ends once the markers are written: a commit is answered before they are."""
        until(lambda: self.topics.ends(topic) == self.topics.high_watermarks(topic))
        return self.topics.ends(topic)

    def visible(self, topic: str) -> list[RawRecord]:
        """What a new read_committed reader sees, up to the end of now."""
        ends = self.settled(topic)
        reader = self.member(topic, group=uuid4().hex, member=uuid4().hex)
        until(lambda: reader.source.caught_up() == ends, reader)
        return sorted(reader.records, key=lambda record: (record.partition, record.offset))


def until(condition: Callable[[], bool], *members: Member) -> None:
    """Poll all members in turn until the condition holds."""
    for _ in range(POLLS):
        if condition():
            return
        for member in members:
            member.poll()
    pytest.fail("the condition did not come true")


def partial_produce(outside: Outside, log: TransactionalLog, topic: str) -> None:
    """Publish two records of which the second is not taken."""
    if isinstance(log, MemoryTransactionalLog):
        log._broker.faults.script("produce", Partial(1))
    log.produce(topic, [b"a", b"b"], [b"taken", b"x" * 2_000_000])


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def outside(request: pytest.FixtureRequest) -> Iterator[Outside]:
    """The two brokers that obey the laws."""
    if request.param == "memory":
        broker = MemoryBroker()
        found = Outside(
            MemoryTopics(broker),
            lambda group, member: MemorySource(broker, group=group, member=member),
            lambda name: MemoryTransactionalLog(broker, transactional_id=name),
        )
    else:
        addresses: Addresses = request.getfixturevalue("stack")
        config = {"bootstrap.servers": addresses.kafka}
        found = Outside(
            KafkaTopics(config),
            lambda group, member: KafkaSource(config, group=group, member=member),
            lambda name: KafkaTransactionalLog(config, transactional_id=name),
        )
    yield found
    for client in found.opened:
        client.close()


# -- transactions ------------------------------------------------------------------------------


def test_an_aborted_batch_leaves_no_visible_event(outside: Outside) -> None:
    """Aborted records are in the log and nobody sees them; the next transaction is seen."""
    topic, log = outside.topic("out"), outside.log()
    log.begin()
    log.produce(topic, [b"k"], [b"aborted"])
    log.abort()
    log.begin()
    log.produce(topic, [b"k"], [b"committed"])
    assert log.commit() is CommitOutcome.COMMITTED
    assert [record.value for record in outside.visible(topic)] == [b"committed"]


def test_nothing_is_visible_before_the_commit(outside: Outside) -> None:
    """The read_committed end stays behind an open transaction, and moves on with its commit."""
    topic, log = outside.topic("out", 1), outside.log()
    only = Partition(topic, 0)
    outside.write(topic, b"before")
    end = outside.settled(topic)[only]
    log.begin()
    log.produce(topic, [b"k"], [b"open"])
    log.produce_letters(topic, [Letter(b"k", b"open too", ())])
    reader = outside.member(topic)
    until(lambda: reader.source.caught_up() == {only: end}, reader)
    assert [record.value for record in reader.records] == [b"before"]
    log.commit()
    until(lambda: len(reader.records) == 3, reader)
    assert outside.settled(topic)[only] > end


def test_outputs_and_positions_become_visible_together(outside: Outside) -> None:
    """Neither before the commit, both after it."""
    source_topic, out = outside.topic("in", 1), outside.topic("out", 1)
    outside.write(source_topic, b"1", b"2")
    reader, log = outside.member(source_topic), outside.log()
    until(lambda: len(reader.records) == 2, reader)
    log.begin()
    log.produce(out, [b"k"], [b"made of 1 and 2"])
    log.send_offsets({Partition(source_topic, 0): 2}, "note", reader.source.group_token())
    assert outside.group_offsets(source_topic) == {}
    assert outside.topics.ends(out) == {Partition(out, 0): 0}
    assert log.commit() is CommitOutcome.COMMITTED
    assert reader.source.committed([Partition(source_topic, 0)]) == {Partition(source_topic, 0): 2}
    assert [record.value for record in outside.visible(out)] == [b"made of 1 and 2"]


def test_an_abort_takes_the_positions_back(outside: Outside) -> None:
    """Positions of an aborted transaction are never seen."""
    topic = outside.topic("in", 1)
    outside.write(topic, b"1")
    reader, log = outside.member(topic), outside.log()
    until(lambda: len(reader.records) == 1, reader)
    log.begin()
    log.send_offsets({Partition(topic, 0): 1}, "", reader.source.group_token())
    log.abort()
    assert reader.source.committed([Partition(topic, 0)]) == {}


def test_a_fenced_producer_cannot_commit(outside: Outside) -> None:
    """Of two producers with one id the later one wins, and the earlier publishes nothing."""
    topic, older = outside.topic("out"), outside.log()
    older.begin()
    older.produce(topic, [b"k"], [b"zombie"])
    newer = outside.log()
    with pytest.raises(FencedError):
        older.commit()
    newer.begin()
    newer.produce(topic, [b"k"], [b"alive"])
    newer.commit()
    assert [record.value for record in outside.visible(topic)] == [b"alive"]


def test_taking_over_an_id_ends_what_was_left_open(outside: Outside) -> None:
    """A successor does not wait for a timeout: the log is not stuck once it is initialised."""
    topic, dead = outside.topic("out", 1), outside.log()
    dead.begin()
    dead.produce(topic, [b"k"], [b"left open"])
    dead.produce_letters(topic, [Letter(None, b"left open", ())])
    outside.log()
    assert outside.visible(topic) == []


def test_a_recycled_client_goes_on(outside: Outside) -> None:
    """Recycling aborts what is open; the next transaction is an ordinary one."""
    topic, log = outside.topic("out"), outside.log()
    log.begin()
    log.produce(topic, [b"k"], [b"given up"])
    log.recycle()
    assert not log.is_doubtful()
    log.begin()
    log.produce(topic, [b"k"], [b"published"])
    assert log.commit() is CommitOutcome.COMMITTED
    assert [record.value for record in outside.visible(topic)] == [b"published"]


def test_a_produce_taken_in_part_is_aborted_as_a_whole(outside: Outside) -> None:
    """A record that is not taken asks for an abort; of its transaction nothing is seen."""
    topic, log = outside.topic("out"), outside.log()
    log.begin()
    with pytest.raises(AbortableError):
        partial_produce(outside, log, topic)
    log.abort()
    log.begin()
    log.produce(topic, [b"a"], [b"again"])
    assert log.commit() is CommitOutcome.COMMITTED
    assert [record.value for record in outside.visible(topic)] == [b"again"]


def test_closing_aborts_what_is_open(outside: Outside) -> None:
    """A clean end leaves nothing behind."""
    topic, log = outside.topic("out", 1), outside.log()
    log.begin()
    log.produce(topic, [b"k"], [b"open"])
    log.close()
    log.close()
    outside.write(topic, b"after")
    assert [record.value for record in outside.visible(topic)] == [b"after"]


# -- records -----------------------------------------------------------------------------------


def test_keys_go_where_murmur2_sends_them(outside: Outside) -> None:
    """Keys with the same bytes meet in one partition, the Java client's."""
    topic, log = outside.topic("out", 5), outside.log()
    keys = [f"key-{i % 20}".encode() for i in range(60)] + [b"", b"\x00\xff", "Zürich".encode()]
    log.begin()
    log.produce(topic, keys, keys)
    log.produce_letters(topic, [Letter(key, key, ()) for key in keys])
    log.commit()
    found = outside.visible(topic)
    assert len(found) == 2 * len(keys)
    for record in found:
        assert record.key is not None
        assert record.partition.index == partition_of(record.key, 5)


def test_records_of_a_key_keep_their_order(outside: Outside) -> None:
    """Over several produce calls and both ways to publish."""
    topic, log = outside.topic("out", 3), outside.log()
    log.begin()
    for i in range(30):
        log.produce(topic, [b"a", b"b"], [b"a%d" % i, b"b%d" % i])
        log.produce_letters(topic, [Letter(b"a", b"a%d'" % i, ())])
    log.commit()
    values = [record.value for record in outside.visible(topic) if record.key == b"a"]
    assert values == [value for i in range(30) for value in (b"a%d" % i, b"a%d'" % i)]


def test_letters_keep_key_value_and_headers(outside: Outside) -> None:
    """Headers in order, repeated names and null values included; a null value stays null."""
    topic, log = outside.topic("dead", 1), outside.log()
    headers = (("a", b"1"), ("a", b"2"), ("empty", b""), ("null", None))
    log.begin()
    log.produce_letters(topic, [Letter(b"k", None, headers), Letter(None, b"\x00raw", ())])
    log.commit()
    first, second = outside.visible(topic)
    assert (first.key, first.value, tuple(first.headers)) == (b"k", None, headers)
    assert (second.key, second.value, tuple(second.headers)) == (None, b"\x00raw", ())


def test_columns_agree_with_the_records(outside: Outside) -> None:
    """Values, keys, places and times of a batch are those of its rows."""
    topic = outside.topic("in")
    outside.write(topic, *(b"%d" % i for i in range(20)))
    reader = outside.member(topic)
    batches: list[Records] = []
    while sum(map(len, batches)) < 20:
        batches += reader.poll()
    for batch in batches:
        rows = [batch.raw(row) for row in range(len(batch))]
        assert batch.topic == topic
        assert list(batch.values) == [row.value for row in rows]
        assert list(batch.keys()) == [row.key for row in rows]
        assert list(batch.partitions()) == [row.partition.index for row in rows]
        assert list(batch.offsets()) == [row.offset for row in rows]
        assert list(batch.timestamps_ms()) == [row.timestamp_ms for row in rows]
        assert batch.ends() == {row.partition: row.offset + 1 for row in rows}
    published = reader.source.publish_times_ms()
    assert set(published) == {record.partition for record in reader.records}


def test_a_poll_brings_no_more_than_asked_for(outside: Outside) -> None:
    """And skips nothing because of it."""
    topic = outside.topic("in", 1)
    outside.write(topic, *(b"%d" % i for i in range(10)))
    reader = outside.member(topic)
    while len(reader.records) < 10:
        assert sum(map(len, reader.poll(3))) <= 3
    assert [record.value for record in reader.records] == [b"%d" % i for i in range(10)]


def test_control_records_and_aborted_ones_are_passed(outside: Outside) -> None:
    """`caught_up` says the read_committed end, though the last record lies before it."""
    topic, log = outside.topic("in", 1), outside.log()
    only = Partition(topic, 0)
    outside.write(topic, b"seen")
    log.begin()
    log.produce(topic, [b"k"] * 3, [b"aborted"] * 3)
    log.abort()
    reader, ends = outside.member(topic), outside.settled(topic)
    until(lambda: reader.source.caught_up() == ends, reader)
    assert [record.offset + 1 for record in reader.records] == [1]
    assert ends[only] > 1


def test_caught_up_forgets_an_end_once_more_records_came(outside: Outside) -> None:
    """An end that was passed is no end."""
    topic = outside.topic("in", 1)
    outside.write(topic, b"1")
    reader = outside.member(topic)
    until(lambda: bool(reader.source.caught_up()), reader)
    outside.write(topic, b"2")
    until(lambda: len(reader.records) == 2, reader)
    assert all(end > 2 for end in reader.source.caught_up().values())


def test_seek_gives_the_records_again_in_order(outside: Outside) -> None:
    """Of the partitions named; the others go on."""
    topic = outside.topic("in", 2)
    outside.write(topic, *(b"%d" % i for i in range(20)))
    reader = outside.member(topic)
    until(lambda: len(reader.records) == 20, reader)
    first = reader.values()
    partition = Partition(topic, 1)
    reader.records.clear()
    reader.source.seek({partition: 2})
    until(lambda: len(reader.records) == len(first[partition]) - 2, reader)
    assert reader.values() == {partition: first[partition][2:]}


def test_seek_to_the_same_place_again_and_again_loses_nothing(outside: Outside) -> None:
    """A rewind in the middle of what is fetched: every record still comes once after the last."""
    topic = outside.topic("in", 1)
    outside.write(topic, *(b"%d" % i for i in range(50)))
    reader = outside.member(topic)
    for _ in range(5):
        while not reader.poll(7):
            pass
        reader.source.seek({Partition(topic, 0): 0})
    reader.records.clear()
    until(lambda: len(reader.records) >= 50, reader)
    assert [record.value for record in reader.records] == [b"%d" % i for i in range(50)]


def test_a_position_outside_the_log_stops(outside: Outside) -> None:
    """No silent reset: the position is named as lost."""
    topic = outside.topic("in", 1)
    outside.write(topic, b"1")
    reader = outside.member(topic)
    until(lambda: len(reader.records) == 1, reader)
    reader.source.seek({Partition(topic, 0): 1000})
    with pytest.raises(StartRefusedError) as refused:
        until(lambda: False, reader)
    assert refused.value.code == "DATA_LOSS"


def test_paused_inputs_bring_nothing_and_lose_nothing(outside: Outside) -> None:
    """Polling goes on while paused; after it every record comes once."""
    topic = outside.topic("in")
    reader = outside.member(topic)
    until(lambda: len(reader.source.caught_up()) == 2, reader)
    reader.source.pause()
    outside.write(topic, *(b"%d" % i for i in range(10)))
    for _ in range(5):
        assert not reader.poll()
    reader.source.resume()
    until(lambda: len(reader.records) >= 10, reader)
    assert sorted(str(record.value) for record in reader.records) == sorted(
        str(b"%d" % i) for i in range(10)
    )


# -- groups ------------------------------------------------------------------------------------


def test_start_positions_are_taken_by_an_empty_group_only(outside: Outside) -> None:
    """Of two processes that start at once one wins."""
    topic = outside.topic("in")
    first, second = Partition(topic, 0), Partition(topic, 1)
    outside.write(topic, *(b"%d" % i for i in range(9)))
    early = outside.source("readers", "early")
    early.commit_start({first: 1, second: 0})
    assert outside.group_offsets(topic) == {first: 1, second: 0}
    member = outside.member(topic)
    until(lambda: len(member.source.assignment()) == 2, member)
    with pytest.raises(RetriableError):
        early.commit_start({first: 0, second: 0})
    assert outside.group_offsets(topic) == {first: 1, second: 0}


def test_reading_begins_where_the_listener_says(outside: Outside) -> None:
    """And where the group stood before."""
    topic = outside.topic("in", 1)
    outside.write(topic, b"0", b"1", b"2")
    outside.source("readers", "early").commit_start({Partition(topic, 0): 2})
    member = outside.member(topic)
    until(lambda: bool(member.records), member)
    assert [record.value for record in member.records] == [b"2"]


def test_the_note_comes_back_with_the_position(outside: Outside) -> None:
    """Metadata beside a committed position is read as written; absent is absent."""
    topic = outside.topic("in")
    first, second = Partition(topic, 0), Partition(topic, 1)
    member, log = outside.member(topic), outside.log()
    until(lambda: len(member.source.assignment()) == 2, member)
    log.begin()
    log.send_offsets({first: 0}, '{"outputs":{"ä":3}}', member.source.group_token())
    log.commit()
    assert member.source.metadata([first, second]) == {first: '{"outputs":{"ä":3}}'}
    assert member.source.committed([first, second]) == {first: 0}


def test_a_rebalance_revokes_before_it_assigns(outside: Outside) -> None:
    """Eagerly: everything is let go, then shared out; no partition has two owners."""
    topic = outside.topic("in", 4)
    one = outside.member(topic, member="one")
    until(lambda: len(one.source.assignment()) == 4, one)
    two = outside.member(topic, member="two")
    until(lambda: len(one.source.assignment()) == len(two.source.assignment()) == 2, one, two)
    assert not one.source.assignment() & two.source.assignment()
    kinds = [kind for kind, _ in one.listener.heard]
    assert kinds == ["assigned", "revoked", "assigned"]
    assert len(one.listener.heard[1][1]) == 4
    assert one.listener.heard[2][1] == sorted(one.source.assignment())


def test_a_start_that_fails_is_asked_for_again(outside: Outside) -> None:
    """An assignment whose positions cannot be had now is asked about at the next polls."""
    topic = outside.topic("in")
    outside.write(topic, b"1", b"2", b"3")
    member = outside.member(topic)
    member.listener.refusals = [UnavailableError("away"), UnavailableError("away")]
    refusals = 0
    for _ in range(POLLS):
        try:
            member.poll()
        except UnavailableError:
            refusals += 1
        if len(member.records) == 3:
            break
    assert refusals == 2
    assert len(member.records) == 3


def test_a_stale_generation_cannot_send_positions(outside: Outside) -> None:
    """A token from before a rebalance is refused, so a slow owner commits nothing."""
    topic = outside.topic("in")
    one, log = outside.member(topic, member="one"), outside.log()
    until(lambda: len(one.source.assignment()) == 2, one)
    stale = one.source.group_token()
    two = outside.member(topic, member="two")
    until(lambda: len(one.source.assignment()) == len(two.source.assignment()) == 1, one, two)
    log.begin()
    with pytest.raises(AbortableError):
        log.send_offsets({Partition(topic, 0): 0}, "", stale)
    log.abort()
    assert outside.group_offsets(topic) == {}


def taken_over(outside: Outside, topic: str) -> tuple[Member, Member, GroupToken]:
    """A zombie, the process that took its instance, and the zombie's token."""
    zombie = outside.member(topic)
    until(lambda: len(zombie.source.assignment()) == 2, zombie)
    stale = zombie.source.group_token()
    successor = outside.member(topic)
    until(lambda: len(successor.source.assignment()) == 2, successor)
    return zombie, successor, stale


def test_a_zombie_member_cannot_send_positions_after_a_takeover(outside: Outside) -> None:
    """Its token names a member that is no more, whatever producer carries it."""
    topic, log = outside.topic("in"), outside.log()
    _zombie, successor, stale = taken_over(outside, topic)
    log.begin()
    with pytest.raises((FencedError, AbortableError)):
        log.send_offsets({Partition(topic, 0): 0}, "", stale)
    log.abort() if not isinstance(log, MemoryTransactionalLog) else log.recycle()
    log.begin()
    log.send_offsets({Partition(topic, 0): 0}, "", successor.source.group_token())
    assert log.commit() is CommitOutcome.COMMITTED


def test_a_zombie_member_hears_that_it_was_replaced(outside: Outside) -> None:
    """A poll tells; so does asking for the membership."""
    topic = outside.topic("in")
    outside.source("readers", "early").commit_start({Partition(topic, i): 0 for i in range(2)})
    zombie, successor, _ = taken_over(outside, topic)
    with pytest.raises(FencedError):
        zombie.source.check_membership()
    with pytest.raises(FencedError):
        until(lambda: False, zombie)
    successor.source.check_membership()


def test_a_static_member_that_comes_back_gets_its_partitions_at_once(outside: Outside) -> None:
    """Closing does not leave: nobody else is disturbed."""
    topic = outside.topic("in", 4)
    one = outside.member(topic, member="one")
    until(lambda: len(one.source.assignment()) == 4, one)
    two = outside.member(topic, member="two")
    until(lambda: len(one.source.assignment()) == len(two.source.assignment()) == 2, one, two)
    held, heard = two.source.assignment(), len(one.listener.heard)
    two.source.close()
    back = outside.member(topic, member="two")
    until(lambda: back.source.assignment() == held, back, one)
    assert len(one.listener.heard) == heard


def test_new_partitions_reach_the_members(outside: Outside) -> None:
    """A topic that grows is shared out anew, without a restart."""
    if not isinstance(outside.topics, MemoryTopics):
        pytest.skip("the client asks for new partitions every five minutes only")
    topic = outside.topic("in", 1)
    member = outside.member(topic)
    until(lambda: len(member.source.assignment()) == 1, member)
    outside.topics._broker.grow(topic, 3)
    until(lambda: len(member.source.assignment()) == 3, member)
