"""What is done in a thread beside the one that reads: in order, and never left half-done."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.snapshot.writers import COMMIT_ROWS, READ_RECORDS, Orders

from headwater.adapters.parquet.table import ParquetSnapshotTable
from headwater.embedded.process import wait_until
from headwater.ports import Change
from headwater.snapshot import writer
from headwater.snapshot.pipeline import beside, one_behind

LONGEST_S = 60.0  # of a wait that ends at once unless the promise is broken


def test_the_next_part_is_made_while_one_is_worked_on() -> None:
    """Work on the first waits for the second part: one after the other would wait for ever."""
    second = threading.Event()

    def parts() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    def work(part: int) -> int:
        assert second.wait(LONGEST_S)
        return part * 10

    assert one_behind(work, parts()) == [10, 20]


def test_no_more_than_one_part_is_ahead() -> None:
    """Memory holds the one that is worked on and the one that is made."""
    done: list[int] = []
    ahead: list[int] = []

    def parts() -> Iterator[int]:
        for part in range(20):
            ahead.append(part - len(done))
            yield part

    one_behind(done.append, parts())
    assert done == list(range(20))
    assert max(ahead) <= 2


def test_no_parts_are_no_work() -> None:
    """Nothing new."""
    assert one_behind(str, []) == []


def test_an_error_of_the_work_ends_it_before_the_next_part() -> None:
    """It is told, and what was made meanwhile is dropped."""
    worked: list[int] = []

    def work(part: int) -> None:
        worked.append(part)
        if part == 1:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        one_behind(work, range(9))
    assert worked == [0, 1]


@pytest.mark.parametrize("ending", [ValueError, KeyboardInterrupt])
def test_what_ends_the_parts_waits_for_the_work_under_way(ending: type[BaseException]) -> None:
    """An unreadable record or a Ctrl-C: the commit before is made whole, then it is told."""
    is_ending = threading.Event()
    worked: list[int] = []

    def parts() -> Iterator[int]:
        yield 1
        is_ending.set()
        raise ending

    def work(part: int) -> None:
        assert is_ending.wait(LONGEST_S)
        worked.append(part)

    with pytest.raises(ending):
        one_behind(work, parts())
    assert worked == [1]


def test_the_earlier_of_two_errors_is_told() -> None:
    """Work failed on rows that come before the record that cannot be read."""
    is_ending = threading.Event()

    def parts() -> Iterator[int]:
        yield 1
        is_ending.set()
        raise ValueError

    def work(_part: int) -> None:
        assert is_ending.wait(LONGEST_S)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        one_behind(work, parts())


def test_an_interrupted_snapshot_is_whole_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes while the first commit is under way: that one is made, the next run goes on."""
    monkeypatch.setattr(writer, "COMMIT_ROWS", COMMIT_ROWS)
    monkeypatch.setattr(writer, "READ_RECORDS", READ_RECORDS)
    orders = Orders(tmp_path / "table", "parquet", 400)
    is_committing, is_interrupted = threading.Event(), threading.Event()
    commit = ParquetSnapshotTable.commit

    def slow(table: ParquetSnapshotTable, change: Change) -> int:
        is_committing.set()
        assert is_interrupted.wait(LONGEST_S)
        return commit(table, change)

    def interrupt(done: int, total: int) -> None:
        if done > COMMIT_ROWS + READ_RECORDS:
            assert is_committing.wait(LONGEST_S)
        if is_committing.is_set() and done < total:
            is_interrupted.set()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ParquetSnapshotTable, "commit", slow)
        with pytest.raises(KeyboardInterrupt):
            orders.take(interrupt)
    assert len(orders.table().commits()) == 1
    assert orders.verify().outcome == "equal"
    assert orders.take() > 1
    assert orders.taken() == orders.published()


def test_parts_are_made_while_the_block_runs() -> None:
    """Each waits for the other: one after the other would wait for ever."""
    begun, asked = threading.Event(), threading.Event()
    made: list[int] = []

    def parts() -> Iterator[None]:
        begun.set()
        assert asked.wait(LONGEST_S)
        made.append(1)
        yield

    with beside(parts()):
        assert begun.wait(LONGEST_S)
        asked.set()
    assert made == [1]


def test_an_error_of_making_is_raised_in_the_block_that_asks_and_at_its_end() -> None:
    """So a long block need not go on for nothing."""

    def parts() -> Iterator[None]:
        yield
        raise OSError("no such disk")

    with pytest.raises(OSError, match="disk"), beside(parts()):
        pass
    with pytest.raises(OSError, match="disk"), beside(parts()) as require_sound:
        wait_until(lambda: bool(require_sound()), LONGEST_S)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_of_the_block_ends_the_making(error: type[BaseException]) -> None:
    """Behind the part under way; endless ones would keep a Ctrl-C waiting for ever."""
    begun = threading.Event()
    made = count()

    def parts() -> Iterator[int]:
        for part in made:
            begun.set()
            yield part

    def interrupted() -> None:
        with beside(parts()):
            assert begun.wait(LONGEST_S)
            raise error

    with pytest.raises(error):
        interrupted()
    assert not any(each.name.startswith("snapshot") for each in threading.enumerate())


def test_an_interruption_while_the_thread_begins_ends_the_making(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has begun by then, and would go on to the end."""
    submit = ThreadPoolExecutor.submit

    def interrupted(*given: Any) -> None:
        submit(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt), beside(count()):
        pass
