"""A child process that dies finds the record that kills: without a broker, on small batches."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.sandbox.orders import LONG_S, SLOW_S, STEP_S, TOPIC, alive

from headwater.adapters.memory.reader import MemoryRecords
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.project import load_product
from headwater.assembly.sandbox import GRACE_S, PIECE_SHARE, ChildSandbox, Setting
from headwater.assembly.sandbox_memory import LEAST_BYTES
from headwater.assembly.step_bound import bounded
from headwater.errors import AbortableError, FatalError, TooManyBadRecordsError, UnavailableError
from headwater.flow.stage import Surrounded
from headwater.model import Code, SchemaRef


@pytest.mark.parametrize(
    ("order", "code", "how"),
    [
        ("segfault", Code.PROCESS_DIED, "killed by SIGSEGV"),
        ("memory", Code.PROCESS_DIED, "MiB of memory"),
        ("loop", Code.STEP_TIMEOUT, "within 3 s"),
        ("deaf", Code.STEP_TIMEOUT, "within 3 s"),
        # the same ends by other ways
        pytest.param("exit", Code.PROCESS_DIED, "exit code 0", marks=pytest.mark.faults),
        pytest.param("grow", Code.PROCESS_DIED, "MiB of memory", marks=pytest.mark.faults),
        pytest.param("kernel", Code.PROCESS_DIED, "MiB of memory", marks=pytest.mark.faults),
        pytest.param("regex", Code.STEP_TIMEOUT, "within 3 s", marks=pytest.mark.faults),
    ],
)
def test_a_deadly_record_is_found_and_told(
    sandbox: ChildSandbox, batch: Callable[..., MemoryRecords], order: str, code: Code, how: str
) -> None:
    """With its code, how the process ended, and the step it was in."""
    (found,) = sandbox.guilty(batch(**{order: 9}), alive)
    assert (found.row, found.code, found.step) == (9, code, "map-1")
    assert how in found.message
    assert "map-1" in found.message


@pytest.mark.parametrize("order", ["eat", pytest.param("starve", marks=pytest.mark.faults)])
def test_an_event_that_eats_memory_is_found(
    sandbox: ChildSandbox, batch: Callable[..., MemoryRecords], order: str
) -> None:
    """A step over events sets aside what raises, and must not hide this from the sandbox."""
    (found,) = sandbox.guilty(batch(**{order: 9}), alive)
    assert (found.row, found.code, found.step) == (9, Code.PROCESS_DIED, "map-events-1")
    assert "MiB of memory" in found.message


def test_memory_that_runs_short_sets_one_event_aside(product: Path) -> None:
    """Outside of a sandbox it is an exception like any other."""
    frame = pl.DataFrame({"order_id": ["a", "eat", "b", "starve"]}).with_row_index("_row")
    processed = load_product(str(product)).plans["shop.bills"].process(frame)
    assert processed.frame["order_id"].to_list() == ["a", "b"]
    assert [(each.row, each.code) for each in processed.quarantined] == [
        (1, Code.STEP_FAILED),
        (3, Code.STEP_FAILED),
    ]


def test_a_container_without_room_for_a_child_stops_the_product(
    sandbox: ChildSandbox,
    batch: Callable[..., MemoryRecords],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With too little memory, innocent records would be taken for deadly ones."""
    monkeypatch.setattr("headwater.assembly.sandbox.MEMORY_BYTES", 2**20)
    with pytest.raises(FatalError, match="raise the limit"):
        sandbox.guilty(batch(), alive)


@pytest.mark.parametrize(
    "orders", [(160, 100_000), (400, 90_000), (20, 900_000)], ids=lambda orders: f"{orders[0]}"
)
def test_a_batch_that_does_not_fit_into_a_child_costs_no_record(
    sandbox: ChildSandbox,
    large: Callable[[int, int], MemoryRecords],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    orders: tuple[int, int],
) -> None:
    """It is given in slices that do, and what it works on fits besides; nothing dies of it."""
    monkeypatch.setattr("headwater.assembly.sandbox.MEMORY_BYTES", LEAST_BYTES)
    assert sandbox.guilty(large(*orders), alive) == []
    said = capfd.readouterr().err
    assert "Fatal Python error" not in said
    assert "jemalloc" not in said


def test_a_record_that_a_child_cannot_take_is_not_guilty(
    sandbox: ChildSandbox,
    large: Callable[[int, int], MemoryRecords],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was not worked on: the product stops, and nothing is guessed."""
    monkeypatch.setattr("headwater.assembly.sandbox.MEMORY_BYTES", LEAST_BYTES)
    (record,) = large(1, 10).records
    heavy = MemoryRecords(TOPIC, [record, replace(record, key=bytes(LEAST_BYTES))])
    with pytest.raises(FatalError, match=r"cannot take one record of shop\.orders .*memory limit"):
        sandbox.guilty(heavy, alive)


def test_what_is_too_large_to_be_looked_into_does_not_travel(
    sandbox: ChildSandbox,
    large: Callable[[int, int], MemoryRecords],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process screens it off, so it can end none."""
    monkeypatch.setattr("headwater.assembly.sandbox.MEMORY_BYTES", LEAST_BYTES)
    (record,) = large(1, 10).records
    heavy = MemoryRecords(TOPIC, [record, replace(record, value=bytes(LEAST_BYTES))])
    assert sandbox.guilty(heavy, alive) == []


def test_memory_that_others_left_behind_costs_no_record(
    sandbox: ChildSandbox,
    batch: Callable[..., MemoryRecords],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A record alone is judged in a child that worked on nothing else."""
    monkeypatch.setattr("headwater.assembly.sandbox.MEMORY_BYTES", LEAST_BYTES)
    hoards = {f"hoard{row}": row for row in range(0, 16, 3)}
    assert sandbox.guilty(batch(**hoards), alive) == []


def test_several_deadly_records_are_found_in_order(
    sandbox: ChildSandbox,
    batch: Callable[..., MemoryRecords],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alone, whatever shares a piece with them; a slow one has the time that a step has."""
    monkeypatch.setattr("headwater.assembly.sandbox.PIECES", 4)
    assert STEP_S * PIECE_SHARE < SLOW_S < STEP_S
    found = sandbox.guilty(batch(exit1=0, slow=6, segfault2=11), alive)
    assert [each.row for each in found] == [0, 11]
    assert sandbox.guilty(batch(), alive) == []  # the next batch has a child again


def test_what_only_raises_or_speaks_is_not_guilty(
    sandbox: ChildSandbox, batch: Callable[..., MemoryRecords], capfd: pytest.CaptureFixture[str]
) -> None:
    """It is the task's business; and standard output belongs to the command."""
    assert sandbox.guilty(batch(**{"raise": 3, "speak": 4}), alive) == []
    said = capfd.readouterr()
    assert "a word on standard output" not in said.out
    assert "a word on standard output" in said.err
    assert "score 1000" in said.err  # short of memory, the kernel takes the child first
    assert "leads its session: True" in said.err  # Ctrl-C is for the command
    assert "secret payload" not in said.err


def test_what_passes_a_step_by_ends_the_child_without_its_text(
    sandbox: ChildSandbox, batch: Callable[..., MemoryRecords], capfd: pytest.CaptureFixture[str]
) -> None:
    """Frames and the type alone: no stack trace of Python's own, which would end with the text."""
    found = sandbox.guilty(batch(interrupt=2, close=9), alive)
    assert [(each.row, each.code) for each in found] == [
        (2, Code.PROCESS_DIED),
        (9, Code.PROCESS_DIED),
    ]
    said = capfd.readouterr().err
    assert "KeyboardInterrupt" in said
    assert "GeneratorExit" in said
    assert "secret payload" not in said.replace('("secret payload")', "")  # the step's own line


def test_each_step_has_its_own_time(
    sandbox: ChildSandbox, batch: Callable[..., MemoryRecords]
) -> None:
    """As in the process itself: two steps that take long one after the other end nothing."""
    assert 2 * LONG_S > STEP_S + GRACE_S
    assert sandbox.guilty(batch(long=3), alive) == []


def test_where_a_record_did_not_come_back_is_told(
    sandbox: ChildSandbox, batch: Callable[..., MemoryRecords], capfd: pytest.CaptureFixture[str]
) -> None:
    """The child's own alarm ends it, though the same piece asked the registry, and says where."""
    (found,) = sandbox.guilty(batch(regex=0), alive)
    assert found.code == Code.STEP_TIMEOUT
    said = capfd.readouterr().err
    assert re.search(r'product\.py", line \d+ in act', said)
    assert "aaaa" not in said


def test_waiting_for_a_slow_registry_is_no_work(
    sandbox: ChildSandbox, batch: Callable[..., MemoryRecords], registry: MemoryRegistry
) -> None:
    """Neither the child's alarm nor its parent's patience runs out; nor afterwards, while idle."""
    answer = registry.schema

    def slow(reference: SchemaRef) -> str:
        time.sleep(STEP_S + GRACE_S + 0.5)
        return answer(reference)

    registry.schema = slow  # type: ignore[method-assign]  # slower than a step may be
    assert sandbox.guilty(batch(), alive) == []
    child = sandbox._child
    assert child is not None
    with pytest.raises(subprocess.TimeoutExpired):
        child._process.wait(STEP_S + 0.5)


def test_too_many_deadly_records_stop_the_product(
    sandbox: ChildSandbox,
    batch: Callable[..., MemoryRecords],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A release that dies of everything is not hidden in dead letters."""
    monkeypatch.setattr("headwater.assembly.sandbox.MAX_GUILTY", 1)
    orders = {f"exit{row}": row for row in range(3)}
    with pytest.raises(TooManyBadRecordsError, match="exit code 0"):
        sandbox.guilty(batch(**orders), alive)


def test_a_search_ends_when_the_caller_says_so(
    sandbox: ChildSandbox, batch: Callable[..., MemoryRecords]
) -> None:
    """Even in the middle of a piece; the next search begins with a new child."""
    calls = iter(range(8))

    def until_enough() -> None:
        if next(calls, None) is None:
            raise AbortableError("the assignment changed")

    with pytest.raises(AbortableError):
        sandbox.guilty(batch(loop=0), until_enough)
    assert sandbox.guilty(batch(), alive) == []


def test_a_registry_that_is_away_ends_the_search(
    sandbox: ChildSandbox, batch: Callable[..., MemoryRecords], registry: MemoryRegistry
) -> None:
    """It is no bad data: the caller waits and searches again."""

    def away(_: SchemaRef) -> str:
        raise UnavailableError("the registry does not answer")

    registry.schema = away  # type: ignore[method-assign,assignment]  # an outage
    with pytest.raises(UnavailableError):
        sandbox.guilty(batch(), alive)


def test_a_child_that_does_not_start_stops_the_product(
    product: Path, registry: MemoryRegistry, batch: Callable[..., MemoryRecords]
) -> None:
    """Nothing can be found out then, and nothing is guessed."""
    nowhere = ChildSandbox(Setting(product.parent / "gone.py", {}, registry, 1.0))
    with pytest.raises(FatalError, match="did not start"):
        nowhere.guilty(batch(), alive)


def test_a_step_that_does_not_come_back_ends_its_process(product: Path) -> None:
    """By SIGALRM, from inside C code, with the author's line and no value of the record."""
    script = (
        "import sys; from headwater.assembly.project import load_product;"
        "from headwater.assembly.step_bound import bounded; import polars as pl;"
        "plan = bounded(load_product(sys.argv[1]), 0.5).plans['shop.bills'];"
        "plan.process(pl.DataFrame({'order_id': ['regex']}).with_row_index('_row'))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(product)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGALRM
    assert re.search(r'product\.py", line \d+ in act', ended.stderr)
    assert "aaaa" not in ended.stderr


def test_the_bound_of_a_step_is_armed_and_disarmed_once_a_batch(
    product: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls to the kernel per batch and step, and no alarm is left behind."""
    armed_s: list[float] = []
    arm = signal.setitimer

    def counted(which: int, seconds: float) -> tuple[float, float]:
        armed_s.append(seconds)
        return arm(which, seconds)

    before = signal.getsignal(signal.SIGALRM)
    try:
        stage = bounded(load_product(str(product)), 3600.0).plans["shop.bills"].stages[0]
        assert isinstance(stage, Surrounded)
        monkeypatch.setattr(signal, "setitimer", counted)
        for rows in (1, 1_000):
            stage.run(pl.DataFrame({"order_id": ["a"] * rows}).with_row_index("_row"))
        assert armed_s == [3600.0, 0.0] * 2
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0
    finally:
        signal.signal(signal.SIGALRM, before)
