"""Dead letters that come back, on the real broker."""

import os
from collections.abc import Callable

import polars as pl
import pytest
from confluent_kafka.admin import AdminClient
from tests.dead_letters.conftest import DEADLY, FIRST, SECOND, SetAside
from tests.faults.harness import START_S, until
from tests.topics.settled import settled

pytestmark = pytest.mark.kafka

KILLED = -9
POINTS = ("after_produce", "during_commit", "after_commit")
Make = Callable[[str, int], SetAside]


def test_repaired_letters_come_out_exactly_once(set_aside: Make) -> None:
    """List, show, replay through the next release, list again; a second replay does nothing."""
    world = set_aside("once", 4)
    listed = world.answer("list")
    assert listed["totals"] == {"STEP_FAILED": 4}
    assert {each["attempts"] for each in listed["letters"]} == {1}
    text = world.command("list").stdout
    assert "4 open dead letters: 4 STEP_FAILED" in text
    assert world.source in text
    world.release(SECOND)
    dry = world.answer("replay", "--dry-run")
    assert (dry["replayed"], dry["written"]) == (4, {world.product: 4})
    assert len(world.outputs()) == 56
    done = world.answer("replay")
    assert (done["replayed"], done["failed_again"], done["refused"]) == (4, {}, [])
    assert world.outputs() == sorted(world.fed["flight_id"])
    assert world.statuses() == {"replayed": 4}
    assert world.answer("list")["letters"] == []
    again = world.answer("replay")
    assert (again["replayed"], again["written"]) == (0, {})
    world.run()
    assert world.outputs() == sorted(world.fed["flight_id"])


def test_letters_that_fail_again_are_new_letters_of_the_same_record(set_aside: Make) -> None:
    """One attempt more, first seen when it was, and the old one is marked."""
    world = set_aside("again", 2)
    before = world.answer("list")["letters"]
    done = world.answer("replay")
    assert (done["replayed"], done["failed_again"]) == (0, {"STEP_FAILED": 2})
    assert world.statuses() == {"failed-again": 2, "open": 2}
    after = world.answer("list")["letters"]
    assert [each["attempts"] for each in after] == [2, 2]
    assert [each["release"] for each in after] == ["r2", "r2"]
    for name in ("source", "first_seen", "code", "step"):
        assert [each[name] for each in after] == [each[name] for each in before]
    world.release(SECOND)
    assert world.answer("replay")["replayed"] == 2
    assert world.outputs() == sorted(world.fed["flight_id"])


def test_a_killed_replay_is_finished_by_the_next(set_aside: Make) -> None:
    """Killed anywhere in a transaction, and run again: each output is there once."""
    world = set_aside("killed", 3 * len(POINTS))
    world.release(SECOND)
    letters = world.answer("list")["letters"]
    for done, point in enumerate(POINTS, start=1):
        some = [f"--at={each['at']}" for each in letters[3 * (done - 1) : 3 * done]]
        with world.begin("replay", *some, settings={"HEADWATER_FAIL": f"{point}:kill@1"}) as killed:
            assert killed.wait(60) == KILLED
        world.answer("replay", *some)
        outputs = world.outputs()
        assert len(outputs) == len(set(outputs)) == world.fed.height - len(letters) + 3 * done
        assert world.statuses()["replayed"] == 3 * done
    assert world.outputs() == sorted(world.fed["flight_id"])


def test_of_two_replays_at_once_each_letter_comes_out_once(set_aside: Make) -> None:
    """The later one fences the earlier, or finds nothing left to do."""
    world = set_aside("race", 5)
    world.release(SECOND)
    both = [world.begin("replay"), world.begin("replay")]
    for process in both:
        with process:
            _, err = process.communicate(timeout=60)
            assert process.returncode in {0, 69, 75}, err
    world.answer("replay")
    assert world.outputs() == sorted(world.fed["flight_id"])
    assert world.statuses() == {"replayed": 5}


def test_records_that_ended_a_process_come_back_through_a_child(set_aside: Make) -> None:
    """Deadly only now or still, they cost the child its life, not the replay; mended they come."""
    world = set_aside("deadly", 2)
    world.release(DEADLY)
    again = world.answer("replay")
    assert (again["replayed"], again["failed_again"]) == (0, {"PROCESS_DIED": 2})
    still = world.answer("replay")
    assert (still["replayed"], still["failed_again"]) == (0, {"PROCESS_DIED": 2})
    (one, other) = world.answer("list")["letters"]
    assert one["message"] == other["message"] == "the process ended with exit code 3 in step map-1"
    assert (one["attempts"], one["step"]) == (3, "map-1")
    assert len(world.outputs()) == 58
    world.release(SECOND)
    assert world.answer("replay")["replayed"] == 2
    assert world.outputs() == sorted(world.fed["flight_id"])


def test_discarded_letters_stay_discarded_and_the_audit_log_says_why(
    set_aside: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reason is needed, and somebody who says yes; a replay passes them by."""
    world = set_aside("discard", 3)
    silent = world.command("discard", "--reason", " ", "--yes")
    assert (silent.returncode, silent.stderr[:10]) == (78, "BAD_VALUE:")
    with monkeypatch.context() as patch:
        patch.setattr(os, "isatty", lambda _file: True)
        asked = world.command("discard", "--reason", "a test")  # whose input ends at once
    assert asked.returncode == 1
    assert f"Discard 3 open letters of {world.product}?" in asked.stderr
    assert world.statuses() == {"open": 3}
    place = world.answer("list")["letters"][0]["at"]
    sure = ("--reason", "a test", "--at", place, "--yes")
    assert world.answer("discard", *sure)["discarded"] == 1
    world.release(SECOND)
    assert world.answer("replay")["replayed"] == 2
    assert world.statuses() == {"replayed": 2, "discarded": 1}
    settled(world.bench.topics, "_headwater.audit")
    marks = [
        record
        for record in world.bench.records("_headwater.audit")
        if (record.key or b"").startswith(world.letters.encode())
    ]
    assert len(marks) == 3
    assert any(b"a test" in (mark.value or b"") for mark in marks)
    assert all(b"tester" in (mark.value or b"") for mark in marks)


def test_letters_of_keys_with_newer_values_are_counted_and_can_be_left(set_aside: Make) -> None:
    """A replay must not put an older value in place of a newer one unnoticed."""
    world = set_aside("newer", 4)
    world.release(SECOND)
    bad = world.fed.filter(world.fed["carrier"] == "BAD")
    world.feed(bad.head(3))
    careful = world.answer("replay", "--if-newest")
    assert (careful["replayed"], careful["left_newer"]) == (1, 3)
    assert (careful["newer_keys"], careful["keys"]) == (3, 4)
    assert world.statuses() == {"replayed": 1, "open": 3}
    told = world.command("replay")
    assert "3 of 3 keys have newer values" in told.stdout
    assert world.statuses() == {"replayed": 4}


def test_values_from_before_in_the_same_batch_are_not_newer(set_aside: Make) -> None:
    """The same flights twice in one batch: first sound, then refused, which are the later ones."""
    world = set_aside("batch", 0)
    sound = world.fed.head(10).with_columns(flight_id=world.fed["flight_id"].head(10) + "-twice")
    world.feed(pl.concat([sound, sound.with_columns(carrier=pl.lit("BAD"))]))
    world.release(SECOND)
    done = world.answer("replay", "--if-newest")
    assert (done["replayed"], done["left_newer"], done["newer_keys"]) == (10, 0, 0)
    assert world.statuses() == {"replayed": 10}


def test_letters_of_a_topic_made_anew_are_open(set_aside: Make) -> None:
    """What was replayed under the same name and offset before was another letter."""
    world = set_aside("anew", 1)
    bad = world.fed.filter(world.fed["carrier"] == "BAD")
    world.release(SECOND)
    assert world.answer("replay")["replayed"] == 1
    topics = world.bench.topics
    admin = AdminClient({**world.bench.kafka})
    admin.delete_topics([world.letters])[world.letters].result(20)
    until(lambda: topics.partitions(world.letters) is None, START_S, "the topic is gone")
    world.release(FIRST)
    world.feed(bad.with_columns(flight_id=bad["flight_id"] + "-anew"))
    assert world.statuses() == {"open": 1}
    world.release(SECOND)
    assert world.answer("replay")["replayed"] == 1
    assert world.statuses() == {"replayed": 1}
    assert len(world.outputs()) == world.fed.height + 1


def test_payloads_are_shown_only_when_asked_for(set_aside: Make) -> None:
    """Neither list nor show nor a log holds one; with --payload it is decoded."""
    world = set_aside("payload", 1)
    flight = world.fed["flight_id"][0]
    for arguments in (["list"], ["show"], ["replay", "--dry-run"]):
        done = world.command(*arguments)
        assert done.returncode == 0
        assert flight not in done.stdout + done.stderr
        assert "secret payload" not in done.stdout + done.stderr
    block = world.command("show", "--payload").stdout
    assert block.startswith("letter ")
    assert f'"flight_id": "{flight}"' in block
    (shown,) = world.answer("show", "--payload")["letters"]
    assert shown["payload"]["value"]["flight_id"] == flight
    assert shown["payload"]["key"] == flight
    world.release(FIRST)
