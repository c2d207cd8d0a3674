"""Which letters a newer value overtook: by publish times, and within a batch by the input."""

import pytest
from tests.dead_letters.world import ALL, INPUT, World, heard

from headwater.assembly.letters import newer
from headwater.assembly.letters.box import Selection
from headwater.assembly.letters.replay import Replayed, ReplayOptions
from headwater.model import Partition

BATCH_S = 1.0  # what a batch takes from when it is processed until its letters are written


@pytest.fixture
def old(world: World) -> World:
    """A product that published a value of `k` long before."""
    world.feed(b"old")
    world.publish(b"old")
    world.broker.clock.advance(1)
    return world


def careful(world: World) -> Replayed:
    """A replay with `--if-newest`."""
    return world.replay().run(ALL, ReplayOptions(if_newest=True), heard)


def test_letters_overtaken_by_newer_values_can_be_left_open(old: World) -> None:
    """Counted always, left with `if_newest`."""
    old.set_aside(b"old-a", key=b"a")
    old.set_aside(b"old-b", key=b"b")
    old.broker.clock.advance(1)
    old.publish(b"new", key=b"a")
    done = careful(old)
    assert (done.newer_keys, done.keys, done.left_newer, done.replayed) == (1, 2, 1, 1)
    assert old.outputs() == [b"old", b"new", b"old-b"]
    assert old.statuses() == ["open", "replayed"]


def test_a_value_from_before_in_the_same_batch_is_older(old: World) -> None:
    """It is published after the letter's record was seen, all the same."""
    old.feed(b"before")
    old.feed(b"mended")
    old.broker.clock.advance(BATCH_S / 2)
    old.publish(b"before")
    old.broker.clock.at_s -= BATCH_S / 2
    old.write_letter(after_s=BATCH_S)
    done = careful(old)
    assert (done.newer_keys, done.left_newer, done.replayed) == (0, 0, 1)
    assert old.outputs() == [b"old", b"before", b"mended"]


def test_a_value_from_behind_in_the_same_batch_is_newer(old: World) -> None:
    """Though publish times cannot tell it from the one before."""
    old.feed(b"before")
    old.set_aside(b"late")
    old.publish(b"before")
    old.feed(b"behind")
    old.publish(b"behind")
    done = careful(old)
    assert (done.newer_keys, done.left_newer, done.replayed) == (1, 1, 0)
    assert old.statuses() == ["open"]


def test_records_of_other_keys_behind_it_do_not_matter(old: World) -> None:
    """Only its own key does."""
    old.set_aside(b"late")
    old.publish(b"before")
    old.feed(b"behind", key=b"another")
    assert careful(old).replayed == 1


def test_a_record_behind_it_that_was_set_aside_too_has_published_nothing(old: World) -> None:
    """Until it is replayed; then the one before it is older."""
    old.publish(b"before")
    old.set_aside(b"first")
    old.set_aside(b"second")
    done = old.replay().run(
        Selection(places=frozenset({(0, 0)})), ReplayOptions(if_newest=True, is_dry=True), heard
    )
    assert (done.replayed, done.left_newer) == (1, 0)
    done = old.replay().run(Selection(places=frozenset({(0, 1)})), ReplayOptions(), heard)
    assert done.replayed == 1
    assert careful(old).left_newer == 1
    assert old.outputs() == [b"old", b"before", b"second"]


def test_what_the_product_has_not_read_yet_is_not_newer(old: World) -> None:
    """The output log counts as it stands when the replay begins."""
    old.set_aside(b"late")
    old.publish(b"before")
    old.broker.append(INPUT, b"unread", key=b"k")
    assert careful(old).replayed == 1


def test_a_letter_whose_input_can_no_longer_be_read_stays_open(old: World) -> None:
    """Nothing tells then that what its batch published is older."""
    old.set_aside(b"late")
    old.publish(b"before")
    old.broker.partition(Partition(INPUT, 0)).truncate(before=2)
    assert careful(old).left_newer == 1


def test_a_letter_whose_input_is_another_topic_by_now_stays_open(old: World) -> None:
    """Other records stand at its place."""
    old.set_aside(b"late")
    old.publish(b"before")
    old.broker.create(old.broker.topic(INPUT).settings)
    for value in (b"x", b"y", b"z"):
        old.feed(value)
    old.broker.group("out").offsets[Partition(INPUT, 0)] = (3, "")
    assert careful(old).left_newer == 1


def test_a_letter_of_another_key_than_its_output_stays_open_in_doubt(old: World) -> None:
    """The input is not ordered by that key."""
    old.set_aside(b"other")
    old.publish(b"before", key=b"other")
    assert careful(old).left_newer == 1


@pytest.mark.parametrize(("most", "left_newer"), [(1, 0), (2, 1)])
def test_the_input_is_read_no_further_than_a_batch_can_reach(
    old: World, monkeypatch: pytest.MonkeyPatch, most: int, left_newer: int
) -> None:
    """What stands beyond is of a later batch: its publish time tells."""
    monkeypatch.setattr(newer, "SCANNED_AT_ONCE", 1)
    monkeypatch.setattr(newer, "BATCH_RECORDS", most)
    old.set_aside(b"late")
    old.publish(b"before")
    old.feed(b"next", key=b"another")
    old.feed(b"far")
    assert careful(old).left_newer == left_newer


def test_each_letter_has_a_time_of_its_own(old: World) -> None:
    """What was published since another one was seen is older than one that was seen after it."""
    old.set_aside(b"first", key=b"a")
    old.broker.clock.advance(1)
    old.publish(b"between", key=b"other")
    old.broker.clock.advance(1)
    old.set_aside(b"other")
    assert careful(old).replayed == 2


def test_a_letter_that_failed_again_still_knows_its_batch(old: World) -> None:
    """The first letter ended it; each later one carries on when that was."""
    old.feed(b"before")
    old.feed(b"bad")
    old.write_letter(after_s=BATCH_S)
    for attempts in (2, 3):
        assert careful(old).failed_again.total() == 1
        letter = old.entries()[-1].letter
        assert (letter.attempts, letter.first_written_ms) == (attempts, 2_000)
        old.broker.clock.advance(1)
