"""The laws of the group and its members, which Kafka and the broker in memory obey alike."""

import pytest
from tests.adapters.outside import Member, Outside, until

from headwater.adapters.memory import (
    MemoryTopics,
    MemoryTransactionalLog,
)
from headwater.errors import (
    AbortableError,
    FencedError,
    RetriableError,
    UnavailableError,
)
from headwater.model import Partition
from headwater.ports import (
    CommitOutcome,
    GroupToken,
)


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


def test_positions_from_outside_are_taken_by_an_empty_group_only(outside: Outside) -> None:
    """In a transaction too; while it is open, whoever asks is told what was committed before."""
    topic = outside.topic("in", 1)
    place = Partition(topic, 0)
    outside.write(topic, b"0", b"1", b"2")
    stranger, log = outside.source("readers", "stranger"), outside.log()
    stranger.commit_start({place: 1})
    log.begin()
    log.send_offsets({place: 2}, {place: "a note"}, stranger.group_token())
    assert outside.group_standing(topic) == {place: (1, "")}
    log.commit()
    assert stranger.committed([place]) == {place: 2}
    assert outside.group_standing(topic) == {place: (2, "a note")}
    member = outside.member(topic)
    until(lambda: bool(member.source.assignment()), member)
    log.begin()
    with pytest.raises(AbortableError):
        log.send_offsets({place: 0}, {place: ""}, stranger.group_token())
    log.abort()
    assert outside.group_offsets(topic) == {place: 2}


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
    log.send_offsets({first: 0}, {first: '{"outputs":{"ä":3}}'}, member.source.group_token())
    log.commit()
    assert member.source.metadata([first, second]) == {first: '{"outputs":{"ä":3}}'}
    assert member.source.committed([first, second]) == {first: 0}


def test_partitions_of_one_transaction_have_notes_of_their_own(outside: Outside) -> None:
    """Positions sent in two parts keep the note of their part, and are committed together."""
    topic = outside.topic("in", 3)
    first, second, third = (Partition(topic, index) for index in range(3))
    member, log = outside.member(topic), outside.log()
    until(lambda: len(member.source.assignment()) == 3, member)
    log.begin()
    log.send_offsets(
        {first: 0, second: 0}, {first: "plain", second: "plain"}, member.source.group_token()
    )
    log.send_offsets({third: 0}, {third: '{"attempts":1}'}, member.source.group_token())
    log.abort()
    assert member.source.metadata([first, second, third]) == {}
    log.begin()
    log.send_offsets(
        {first: 0, second: 0}, {first: "plain", second: "plain"}, member.source.group_token()
    )
    log.send_offsets(
        {second: 0, third: 0},
        {second: '{"attempts":1}', third: '{"attempts":1}'},
        member.source.group_token(),
    )
    log.commit()
    noted = {first: "plain", second: '{"attempts":1}', third: '{"attempts":1}'}
    assert member.source.metadata([first, second, third]) == noted  # of two, the later one
    assert member.source.committed([first, second, third]) == dict.fromkeys(noted, 0)


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
    for _ in range(2):
        with pytest.raises(UnavailableError):
            until(lambda: len(member.records) == 3, member)
    until(lambda: len(member.records) == 3, member)


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
        log.send_offsets({Partition(topic, 0): 0}, {Partition(topic, 0): ""}, stale)
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
        log.send_offsets({Partition(topic, 0): 0}, {Partition(topic, 0): ""}, stale)
    log.abort() if not isinstance(log, MemoryTransactionalLog) else log.recycle()
    log.begin()
    log.send_offsets(
        {Partition(topic, 0): 0}, {Partition(topic, 0): ""}, successor.source.group_token()
    )
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
