"""Rules of contracts where no broker is: the driver and `headwater test`."""

import sys
from typing import Any

import pytest

from headwater.cli.main import main
from headwater.errors import RuleBrokenError
from headwater.model import Code
from headwater.testing import ProductDriver

ORDERS = [{"id": "a", "n": 2, "note": None}, {"id": "b", "n": -1, "note": None}]


def ruled(project: Any, severity: str) -> None:
    """A product that passes on what it reads, with one rule on its output."""
    project.passing("shop.copies")
    rules = [{"name": "positive", "check": "n > 0", "severity": severity}]
    project.contract("shop.copies", rules=rules)


def test_a_rule_rejects_as_it_does_on_a_broker(project: Any) -> None:
    """The dead letter names it; the other record passes."""
    ruled(project, "reject")
    outcome = ProductDriver("shop.copies").run(ORDERS)
    assert [(each.row, each.code) for each in outcome.dead_letters] == [
        (1, Code.CONTRACT_VIOLATION)
    ]
    assert outcome.events() == ORDERS[:1]


def test_a_rule_that_stops_stops_the_driver(project: Any) -> None:
    """With the place of the event in what was given."""
    ruled(project, "stop")
    with pytest.raises(RuleBrokenError, match=r"@1 breaks the rule positive \(n > 0\)"):
        ProductDriver("shop.copies").run(ORDERS)


def test_a_warning_is_shown_and_makes_no_case_fail(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`headwater test` tells rule and event, and exits with 0."""
    ruled(project, "warn")
    outcome = ProductDriver("shop.copies").run(ORDERS)
    (violation,) = outcome.violations
    assert (violation.rule, violation.severity, violation.offset) == ("positive", "warn", 1)
    project.sample("shop.copies", "mix.in.jsonl", ORDERS)
    project.sample("shop.copies", "mix.out.jsonl", ORDERS)
    monkeypatch.setattr(sys, "argv", ["headwater", "test", "shop.copies"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "warning: rule positive of shop.copies is broken by event 2 of" in said
