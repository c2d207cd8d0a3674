"""`headwater diff` from its arguments to its answer, over a log in memory."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.diff.shop import BODY, Shop, stopping

from headwater.adapters.memory import MemoryRangeReader, MemoryTopics
from headwater.assembly.diff.side import Outside
from headwater.cli import diff as command
from headwater.cli.main import main
from headwater.config import Settings

Answer = tuple[int, str, str]
Run = Callable[..., Answer]

STRICT = """\
    def strict(event):
        if event["n"] % 10 == 0:
            raise ValueError(event["id"])
        return event
    product.publish(orders.map_events(strict), contract=1)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop with twenty orders and one that nobody can read."""
    shop = Shop(tmp_path / "today")
    shop.feed([{"id": f"o{n}", "n": n, "note": None} for n in range(20)])
    shop.feed([b"\1nonsense"])
    return shop


@pytest.fixture
def run(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in the shop: exit code, output and errors."""

    @contextmanager
    def outside(_: Settings) -> Iterator[Outside]:
        topics, reader = MemoryTopics(shop.broker), MemoryRangeReader(shop.broker)
        yield Outside(topics, reader, shop.registry)

    def run(candidate: Path, *arguments: str) -> Answer:
        words = ["headwater", "diff", "shop.copies", "--candidate", str(candidate), *arguments]
        monkeypatch.setattr(sys, "argv", words)
        code: Any = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        return int(code or 0), *capsys.readouterr()

    monkeypatch.chdir(shop.root)
    monkeypatch.setattr(command, "resolve", lambda settings: settings)
    monkeypatch.setattr(command, "outside", outside)
    return run


@pytest.mark.parametrize("sides", ["today", "candidate", "both"])
def test_what_is_set_aside_on_either_side_is_told_as_json(
    shop: Shop, run: Run, tmp_path: Path, sides: str
) -> None:
    """By code, as numbers; a difference where one side alone sets a record aside."""
    if sides != "candidate":
        shop.product(shop.root, STRICT)
    other = shop.product(tmp_path / "next", BODY if sides == "today" else STRICT)
    code, out, err = run(other, "--format", "json")
    assert code == (0 if sides == "both" else 1), err
    less, more = {"BAD_MAGIC": 1}, {"BAD_MAGIC": 1, "STEP_FAILED": 2}
    assert json.loads(out)["dead_letters"] == {
        "today": less if sides == "candidate" else more,
        "candidate": less if sides == "today" else more,
        "only_today": {"STEP_FAILED": 2} if sides == "today" else {},
        "only_candidate": {"STEP_FAILED": 2} if sides == "candidate" else {},
        "recoded": {},
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_candidate_that_stops_is_different_and_nothing_allows_it(
    shop: Shop, run: Run, tmp_path: Path, form: str
) -> None:
    """Exit code 1, the side, the record and the rule; no advice to allow it."""
    other = stopping(shop, tmp_path / "next", "n < 10")
    code, out, err = run(other, "--format", form)
    assert (code, err.split(":")[0]) == (1, "DIFFERENT")
    assert "differs: the candidate stops at shop.orders[0]@" in err
    assert "which breaks the rule small of shop.orders" in err
    assert "--allow" not in err
    if form == "text":
        assert "  differs: the candidate stops at shop.orders[0]@" in out
        return
    stops = json.loads(out)["stops"]
    assert stops["today"] == []
    assert {(each["rule"], each["contract"]) for each in stops["candidate"]} == {
        ("small", "shop.orders")
    }


def test_where_both_stop_is_told(shop: Shop, run: Run, tmp_path: Path) -> None:
    """Equal, exit code 0; but whoever reads it knows that neither goes on."""
    stopping(shop, shop.root, "n < 10")
    code, out, err = run(stopping(shop, tmp_path / "next", "n < 10"))
    assert (code, err) == (0, "")
    assert "Both stop at shop.orders[0]@" in out


@pytest.mark.parametrize("form", ["text", "json"])
def test_ctrl_c_in_a_comparison_is_told_in_one_line(
    shop: Shop, run: Run, tmp_path: Path, form: str
) -> None:
    """Exit code 130, and what stays; no half of an answer."""
    body = """\
        import signal
        def interrupting(frame):
            if frame.height:
                signal.raise_signal(signal.SIGINT)
            return frame
        product.publish(orders.map(interrupting), contract=1)
    """
    code, out, err = run(shop.product(tmp_path / "next", body), "--format", form)
    assert (code, out) == (130, "")
    assert err == "Interrupted; nothing was decided, and nothing changed.\n"
