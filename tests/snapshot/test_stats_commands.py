"""`headwater stats` and `headwater overlap` as a user runs them, without a broker."""

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from tests.snapshot.formats import FORMATS

from headwater.cli.main import main
from headwater.contract import load_contract, to_arrow
from headwater.ports import Change, CommitRecord, CutRange, NewFile
from headwater.snapshot.cut import commit_id
from headwater.snapshot.freezing import Freezing
from headwater.snapshot.place import PLACE

PERSONAL = {"sensitivity": "personal"}
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "doc": "The order."},
    {"name": "weight", "type": ["null", "double"], "doc": "d", "unit": "kg", "default": None},
    {"name": "email", "type": "string", "doc": "d", **PERSONAL},
]
PRODUCT = """
from headwater import DataProduct

product = DataProduct(name="{name}", owner="me@example.com")
product.publish(product.stream("shop.raw", contract=1), contract=1)
"""
BEGIN_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
DAY_MS = 86_400_000


class Shop:
    """Two products in a folder, and tables as `headwater snapshot` leaves them."""

    def __init__(self, root: Path, format_: str = "delta") -> None:
        self.root = root
        self.format = format_
        for name in ("shop.raw", "shop.orders", "shop.parcels"):
            folder = name.replace(".", "/")
            schema = {"type": "record", "name": "Row", "doc": "d", "key": "id", "fields": FIELDS}
            path = root / "schemas" / folder / "v1.avsc"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({**schema, "owner": "me@example.com"}))
            if name != "shop.raw":
                (root / "products" / folder).mkdir(parents=True)
                file = root / "products" / folder / "product.py"
                file.write_text(PRODUCT.format(name=name))

    def store(self, topic: str, numbers: range, **columns: Any) -> None:
        """Rows of partition 0, whose offsets are their numbers, a day behind the last commit."""
        contract = load_contract(self.root / "schemas", topic, 1)
        given = {"id": [f"order-{n}" for n in numbers], "weight": [n / 2 for n in numbers]}
        emails = {"email": [f"canary-{n}@example.org" for n in numbers]}
        frame = pl.DataFrame({**given, **emails, **columns}, schema=contract.columns)
        rows = to_arrow(frame, contract)
        for each, values in zip(PLACE, ([0] * len(rows), numbers, [0] * len(rows)), strict=True):
            rows = rows.append_column(each, pa.array(values, pa.int64()).cast(each.type))
        place = self.root / ".headwater" / "snapshots" / topic
        table = FORMATS[self.format](place, product=topic, topic=topic)
        table.offsets("id")
        cut = (CutRange(0, numbers.start, numbers.stop, len(rows), "0" * 32),)
        at = BEGIN_MS + DAY_MS * len(table.commits())
        record = CommitRecord(commit_id(topic, "id", cut), topic, topic, "id", 1, cut, at)
        files = [NewFile(f"part-0-{numbers.start}-{numbers.stop}", rows)]
        table.commit(Freezing(table, contract).frozen(Change(files, record)))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop, in whose folder commands run."""
    monkeypatch.chdir(tmp_path)
    return Shop(tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["headwater", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_columns_are_shown_with_their_units(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each; what is personal is not shown, neither as text nor as JSON."""
    shop.store("shop.orders", range(4), weight=[1.0, 1.5, None, 2.0])
    assert run(monkeypatch, "stats", "shop.orders") == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert "version 1" in out
    assert "4 rows" in out
    assert "keys (id): 4" in out
    weight = ["weight", "kg", "25.0", "%", "3", "1", "1", "1.5", "2", "2"]
    assert weight in lines
    assert ["email", "0", "%", "4", "(personal)"] in lines
    assert "canary" not in out
    assert run(monkeypatch, "stats", "shop.orders", "--format", "json") == 0
    out = capsys.readouterr().out
    found = json.loads(out)
    assert "canary" not in out
    assert (found["rows"], found["cut"], found["keys"]["value"]) == (4, {"0": 4}, 4)
    assert found["committed_at"] == "2026-01-01T00:00:00Z"
    columns = {each["name"]: each for each in found["columns"]}
    assert columns["weight"]["quantiles"]["0.5"] == 1.5
    assert (columns["weight"]["unit"], columns["id"]["doc"]) == ("kg", "The order.")


def test_two_cuts_are_compared(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What moved between the day of a cut and the newest one, in a line for each column."""
    shop.store("shop.orders", range(100))
    shop.store("shop.orders", range(100, 200), weight=[1_000.0] * 100)
    assert run(monkeypatch, "stats", "shop.orders", "--compare", "2026-01-01T12:00:00Z") == 0
    out = capsys.readouterr().out
    assert "from version 1" in out
    assert "100 to 200 rows" in out
    (weight,) = [line for line in out.splitlines() if line.startswith("weight")]
    assert "moved" in weight
    assert "quantiles by 50.0 % ± 2.7 %" in weight
    arguments = ("--at", "1", "--compare", "1", "--format", "json")
    assert run(monkeypatch, "stats", "shop.orders", *arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["verdict"] for each in found["columns"]} == {"alike"}


def test_the_keys_of_two_products_are_compared(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the orders are parcels, and two thirds of the parcels are orders."""
    shop.store("shop.orders", range(8))
    shop.store("shop.parcels", range(4, 10))
    assert run(monkeypatch, "overlap", "shop.orders", "shop.parcels") == 0
    out = capsys.readouterr().out
    assert "in both: 4; of all keys 40.0 %" in out
    assert "50.0 %" in out
    assert "66.7 %" in out
    assert run(monkeypatch, "overlap", "shop.orders", "shop.parcels", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["common"] == {"value": 4.0, "low": 4.0, "high": 4.0}
    assert (found["one"]["topic"], found["other"]["version"]) == ("shop.orders", 1)


def test_what_cannot_be_told_ends_with_2(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No snapshot, no such cut; something that is no cut is a mistake."""
    assert run(monkeypatch, "stats", "shop.orders") == 2
    assert "NO_SNAPSHOT" in capsys.readouterr().err
    shop.store("shop.orders", range(2))
    assert run(monkeypatch, "stats", "shop.orders", "--at", "0") == 2
    assert run(monkeypatch, "overlap", "shop.orders", "shop.parcels") == 2
    assert run(monkeypatch, "stats", "shop.orders", "--at", "lately") == 78
    assert "BAD_CUT" in capsys.readouterr().err


@pytest.mark.parametrize("format_", FORMATS)
def test_tables_of_every_format_have_statistics(
    tmp_path: Path,
    format_: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Shown, compared between cuts and products, and the rules asked of their rows."""
    monkeypatch.chdir(tmp_path)
    shop = Shop(tmp_path, format_)
    for numbers in (range(100), range(100, 150)):
        shop.store("shop.orders", numbers)
    shop.store("shop.parcels", range(50, 200))
    assert run(monkeypatch, "stats", "shop.orders", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 150
    assert run(monkeypatch, "stats", "shop.orders", "--compare", "1") == 0
    assert "100 to 150 rows" in capsys.readouterr().out
    assert run(monkeypatch, "overlap", "shop.orders", "shop.parcels") == 0
    assert "in both: 100" in capsys.readouterr().out
    assert run(monkeypatch, "check-data", "shop.orders") == 0
    assert "has no rules" in capsys.readouterr().out
