"""`headwater verify` at a terminal: what it prints of one cut and of many, and its exit codes."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.diff.shop import BODY, Shop

from headwater.assembly.recomputation import Recomputation, SourceVerdict
from headwater.assembly.snapshots import Snapshots
from headwater.cli.main import main
from headwater.snapshot.verdict import Difference, Outcome, Verdict

DIFFERENCE = Difference("damaged", 1, 7, "part-1.parquet is gone")


def verdict(version: int, outcome: Outcome) -> Verdict:
    """Of a commit of ten rows."""
    is_different = outcome == "different"
    return Verdict(
        version=version,
        commit_id=f"{version:08}",
        commits=version,
        rows=10 * version,
        unchecked=0,
        sampled=0,
        differences=[DIFFERENCE] if is_different else [],
        difference_count=int(is_different),
        undecided=[] if outcome in {"equal", "different"} else ["why"],
        is_kept=outcome != "not kept",
    )


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project, and commands run in it."""
    shop = Shop(tmp_path)
    shop.product(tmp_path, BODY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWATER_KAFKA", "127.0.0.1:9")
    monkeypatch.setenv("HEADWATER_REGISTRY", "http://127.0.0.1:9")
    return shop


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["headwater", "verify", "shop.copies", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["equal", "equal"], 0),
        (["equal", "different"], 1),
        (["not kept", "equal"], 0),
        (["unverifiable", "equal"], 2),
        (["not kept"], 2),
    ],
)
def test_of_many_cuts_the_worst_decides(
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcomes: Sequence[Outcome],
    code: int,
) -> None:
    """But of those that are not kept, which only count where nothing else was asked for."""
    found = [verdict(number, each) for number, each in enumerate(outcomes, 1)]
    monkeypatch.setattr(Snapshots, "verify_all", lambda *_args, **_more: found)
    assert run(monkeypatch, "--all", "--format", "json") == code
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["outcome"] for each in lines] == outcomes
    assert [each["version"] for each in lines] == list(range(1, len(outcomes) + 1))


def test_what_many_cuts_have_in_common_is_told_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged file of a thousand versions is a line, and a short one of each version."""
    found = [verdict(number, "different") for number in (1, 2, 3)]
    monkeypatch.setattr(Snapshots, "verify_all", lambda *_args, **_more: found)
    assert run(monkeypatch, "--all") == 1
    out = capsys.readouterr().out
    assert out.count("part-1.parquet is gone") == 1
    assert out.count("and 1 as told above") == 2
    assert "different; 3 commits up to version 3, 30 rows recorded" in out


def test_the_cut_that_is_asked_for_is_passed_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was written."""
    asked: list[str | None] = []

    def verify(*_args: object, full: bool, at: str | None) -> Verdict:
        asked.append(at)
        return verdict(3, "equal")

    monkeypatch.setattr(Snapshots, "verify", verify)
    assert run(monkeypatch, "--cut", "2026-01-01") == 0
    assert run(monkeypatch) == 0
    assert asked == ["2026-01-01", None]


def test_one_proof_is_asked_for_at_a_time(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is left would be guessed."""
    assert run(monkeypatch, "--cut", "1", "--all") == 78
    assert "--cut and --all ask for different proofs" in capsys.readouterr().err


@pytest.mark.parametrize(("differences", "code"), [(0, 0), (25, 1)])
def test_a_log_beside_its_inputs_is_told(
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    differences: int,
    code: int,
) -> None:
    """In numbers, with the first places, as text and as JSON."""
    told = ["shop.copies[0]@1 is other"] * min(differences, 20)
    found = SourceVerdict("shop.copies", 90, 91, told, differences, 0, [], left_out=2)
    monkeypatch.setattr(Recomputation, "__init__", lambda *_: None)
    monkeypatch.setattr(Recomputation, "run", lambda *_: [found])
    assert run(monkeypatch, "--against-source") == code
    out = capsys.readouterr().out
    assert "90 rows made of the inputs, 91 in the log" in out
    assert ("and 5 more" in out) == bool(differences)
    assert "2 records of the inputs left out" in out
    assert run(monkeypatch, "--against-source", "--format", "json") == code
    assert json.loads(capsys.readouterr().out)["difference_count"] == differences
