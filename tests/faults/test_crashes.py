"""One record among 20,000 that ends the process, whatever it does: it is found and set aside."""

import signal
import time
from collections.abc import Mapping
from typing import Final

import polars as pl
import pytest
from tests.faults.harness import PRODUCT, START_S, Bench, until

from headwater.model import Code

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

PREFIX: Final = "headwater.error."
MARK: Final = "DEADLY"
WHERE: Final = 12_345  # of the fed records: in the second batch
FED: Final = 20_000
MOST_STARTS: Final = 5  # one that begins at 0, three at the same position, one that finds out
ASLEEP: Final = "in the step"
FOUND_S: Final = 60.0  # from the third restart that died to the quarantine

STEP: Final = '''
import ctypes, os, re, signal


def deadly() -> None:
    """What the marked record does to the process."""
{}


def risky(frame: pl.DataFrame) -> pl.DataFrame:
    """As it is, unless the marked flight is there."""
    if (frame["flight_id"] == "DEADLY").any():
        deadly()
    return frame


delays = departures.map(risky).filter('''

CRASHES: Final[Mapping[str, tuple[str, int, Code]]] = {
    "segfault": ("ctypes.string_at(0)", -11, Code.PROCESS_DIED),
    "exit": ("os._exit(3)", 3, Code.PROCESS_DIED),
    # as the kernel does when memory is short; more than a child may take, and all of it touched
    "memory": (
        "held = [bytearray(2**24) for _ in range(96)]; os.kill(os.getpid(), signal.SIGKILL)",
        -9,
        Code.PROCESS_DIED,
    ),
    "loop": ("\n    while True:\n        pass", -14, Code.STEP_TIMEOUT),
    "regex": ('re.match(r"(a+)+$", "a" * 64 + "b")', -14, Code.STEP_TIMEOUT),
}
"""What it does, how the process ends by it, and the code it must come to."""

DECODER: Final = '''
import ctypes
from headwater.contract.topic_decoder import TopicDecoder

_decode = TopicDecoder.decode


def crashing(self, values, *more):
    """A defect in a codec: these bytes end the process."""
    if any(b"DEADLY" in (value or b"") for value in values):
        ctypes.string_at(0)
    return _decode(self, values, *more)


TopicDecoder.decode = crashing

product = DataProduct('''


def _text(action: str) -> str:
    return PRODUCT.read_text().replace(
        "delays = departures.filter(", STEP.format("    " + action), 1
    )


def _marked(flights: pl.DataFrame) -> pl.DataFrame:
    here = pl.int_range(pl.len()) == WHERE
    return flights.head(FED).with_columns(
        flight_id=pl.when(here).then(pl.lit(MARK)).otherwise("flight_id"),
        dep_delay=pl.when(here).then(1).otherwise("dep_delay"),
    )


def _restarted(bench: Bench, product: str, code: int, settings: Mapping[str, str]) -> float:
    """Start again and again as an orchestrator does; the seconds of the start that came through."""
    for start in range(MOST_STARTS):
        began = time.monotonic()
        with bench.run(product, settings=settings) as run:
            ended = run.exit_code(150)
            if ended == 0:
                assert start >= 3, "it came through too early: nothing was found out"
                return time.monotonic() - began
            assert ended == code, run.errors()[-2000:]
    raise AssertionError("it never came through")


def _check(bench: Bench, product: str, source: str, fed: pl.DataFrame, code: Code) -> str:
    """All but the marked record are out, in order; it is in the dead letters, once."""
    letters = bench.records(f"{product}.dead-letters")
    assert [letter.key for letter in letters] == [MARK.encode()]
    headers = dict(letters[0].headers)
    assert headers[PREFIX + "code"] == code.encode()
    bench.check(product, source, fed.filter(pl.col("flight_id") != MARK))
    return (headers[PREFIX + "step"] or b"").decode()


def test_a_step_that_does_not_come_back_ends_the_process(
    bench: Bench, flights: pl.DataFrame
) -> None:
    """By the kernel's alarm, and standard error says in which function it was."""
    fed = flights.head(1).with_columns(flight_id=pl.lit(MARK))
    source = bench.source("crash-asleep-in", [fed], partitions=1)
    text = _text("time.sleep(3600)").replace("import ctypes", "import time, ctypes")
    product = bench.product("crash-asleep", source, text)
    with bench.run(product, settings={"HEADWATER_STEP_TIMEOUT": "2s"}) as run:
        assert run.exit_code() == -signal.SIGALRM
        assert " in deadly" in run.errors()
    assert bench.records(f"{product}.dead-letters") == []


@pytest.mark.faults
@pytest.mark.parametrize("kind", CRASHES)
def test_a_record_that_ends_the_process_is_set_aside(
    bench: Bench, flights: pl.DataFrame, kind: str
) -> None:
    """After three starts in vain it is found within a minute; everything else is out once."""
    action, exit_code, code = CRASHES[kind]
    fed = _marked(flights)
    source = bench.source(f"crash-{kind}-in", [fed], partitions=1)
    product = bench.product(f"crash-{kind}", source, _text(action))
    seconds = _restarted(bench, product, exit_code, {})
    print(f"{kind}: found and processed in {seconds:.1f} s")
    assert seconds < FOUND_S
    assert _check(bench, product, source, fed, code) == "map-1"


@pytest.mark.faults
def test_bytes_that_crash_a_codec_are_set_aside(bench: Bench, flights: pl.DataFrame) -> None:
    """The sandbox does all that the process does, decoding first."""
    fed = _marked(flights)
    source = bench.source("crash-codec-in", [fed], partitions=1)
    text = PRODUCT.read_text().replace("product = DataProduct(", DECODER, 1)
    product = bench.product("crash-codec", source, text)
    seconds = _restarted(bench, product, CRASHES["segfault"][1], {})
    assert seconds < FOUND_S
    assert _check(bench, product, source, fed, Code.PROCESS_DIED) == "decode"


@pytest.mark.faults
def test_kills_by_an_operator_cost_nobody_a_record(bench: Bench, flights: pl.DataFrame) -> None:
    """Three at the same position: the batches behind it are searched, and nothing is found."""
    fed = flights.head(FED)
    source = bench.source("crash-killed-in", [fed], partitions=1)
    asleep = f"print({ASLEEP!r}, file=sys.stderr, flush=True); time.sleep(3600)"
    text = _text(asleep).replace("import ctypes", "import sys, time, ctypes")
    held = bench.product("crash-killed", source, text.replace(MARK, fed["flight_id"][0]))
    for _ in range(3):
        with bench.run(held) as run:
            until(lambda run=run: ASLEEP in run.errors(), START_S, "the step")  # type: ignore[misc]  # bound at once
            run.kill()
    file = bench.folder / "products/faults/crash_killed/product.py"
    file.write_text(file.read_text().replace(asleep, "pass"))
    with bench.run(held) as run:
        assert run.exit_code() == 0
        assert '"guilty": 0' in run.errors()
    assert bench.records(f"{held}.dead-letters") == []
    bench.check(held, source, fed)


@pytest.mark.faults
def test_a_step_that_is_merely_slow_comes_through(bench: Bench, flights: pl.DataFrame) -> None:
    """Too slow for all at once, fast enough for some: none is set aside; the log says why."""
    fed = flights.head(6_000)
    source = bench.source("crash-slow-in", [fed], partitions=1)
    slow = "time.sleep(0.0008 * frame.height)\n    return frame"
    text = _text("pass").replace("import ctypes", "import time, ctypes")
    product = bench.product("crash-slow", source, text.replace("return frame", slow))
    for _ in range(MOST_STARTS):
        with bench.run(product, settings={"HEADWATER_STEP_TIMEOUT": "2s"}) as run:
            if (ended := run.exit_code(150)) == 0:
                assert "raise step_timeout or lower poll_size" in run.errors()
                break
            assert ended == -signal.SIGALRM, run.errors()[-2000:]
    assert ended == 0
    assert bench.records(f"{product}.dead-letters") == []
    bench.check(product, source, fed)
