"""`headwater pin` as a user runs it, without a broker."""

from pathlib import Path

import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.test_stats_commands import Shop, run, shop

from headwater.ports import Table

__all__ = ["shop"]


def table(shop: Shop) -> Table:
    """The table of the orders."""
    place = shop.root / ".headwater" / "snapshots" / "shop.orders"
    return FORMATS[shop.format](place, product="shop.orders", topic="shop.orders")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_cut_is_pinned_listed_and_let_go(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], format_: str
) -> None:
    """The newest one, or the one that is named, in a table of any format."""
    shop.format = format_
    for number in range(3):
        shop.store("shop.orders", range(number, number + 1))
    assert run(monkeypatch, "pin", "shop.orders") == 0
    assert run(monkeypatch, "pin", "shop.orders", "audit") == 0
    assert run(monkeypatch, "pin", "shop.orders", "first", "--cut", "1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "shop.orders: nothing is pinned",
        "shop.orders: audit at version 3",
        "shop.orders: audit at version 3, first at version 1",
    ]
    assert table(shop).pins() == {"audit": 3, "first": 1}
    assert run(monkeypatch, "pin", "shop.orders", "audit", "--remove") == 0
    assert capsys.readouterr().out == "shop.orders: first at version 1\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none", "--remove"], (2, "NO_PIN")),
        (["../up"], (78, "BAD_VALUE")),
        (["audit", "--cut", "yesterday"], (78, "BAD_CUT")),
        (["--remove"], (78, "BAD_VALUE")),
        (["audit", "--cut", "1", "--remove"], (78, "USAGE")),
        (["--cut", "1"], (78, "USAGE")),
        (["--to", "elsewhere"], (2, "NO_SNAPSHOT")),
    ],
    ids=[
        "no such pin",
        "no name of a file",
        "no cut",
        "no name",
        "cut of what is let go",
        "cut without a name",
        "no table to list pins of",
    ],
)
def test_what_cannot_be_pinned_is_told(
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: tuple[int, str],
) -> None:
    """In a sentence, and nothing is written."""
    shop.store("shop.orders", range(1))
    code, said = told
    assert run(monkeypatch, "pin", "shop.orders", *arguments) == code
    assert said in capsys.readouterr().err
    assert not Path(table(shop).location, "_pins").exists()
