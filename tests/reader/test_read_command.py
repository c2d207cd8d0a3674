"""`headwater read`, as people and programs call it."""

import csv
import io
import json
import signal
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from tests.reader.book import Book
from tests.reader.shop import Shop

from headwater.cli import read as command
from headwater.cli.main import main
from headwater.cli.rows import RowsFormat, RowsOut
from headwater.errors import UnavailableError
from headwater.reader.reading import Reading

Said = tuple[int, str, str]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A product with a snapshot and some orders behind it."""
    shop = Shop()
    shop.publish(50)
    shop.take()
    shop.publish(7)
    monkeypatch.setattr(command, "opened", lambda _name: shop.product())
    return shop


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> Said:
    """Exit code, output and errors."""
    monkeypatch.setattr("sys.argv", ["headwater", "read", "shop.orders", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), said.out, said.err


def test_all_events_are_printed_as_json_lines(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each once, times as text."""
    code, out, err = run(monkeypatch, capsys, "--until", "now", "--format", "json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(rows)) == (0, "", 57)
    assert sorted((row["_partition"], row["_offset"]) for row in rows) == sorted(shop.published())
    assert rows[0]["placed_at"].endswith("+00:00")


def test_columns_are_chosen_and_rows_are_limited(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order they are asked for; one heading for all frames."""
    chosen = ("--columns", "amount,id", "--limit", "52", "--format", "csv")
    code, out, _ = run(monkeypatch, capsys, *chosen)
    rows = list(csv.reader(io.StringIO(out)))
    assert (code, rows[0], len(rows)) == (0, ["amount", "id"], 53)


def test_a_table_is_printed_for_people(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With headings."""
    code, out, _ = run(monkeypatch, capsys, "--from", "beginning", "--until", "now")
    assert code == 0
    assert out.split()[:3] == ["id", "amount", "placed_at"]
    assert "order-56" in out


def test_a_column_that_is_not_there_is_told_with_those_that_are(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read."""
    code, _, err = run(monkeypatch, capsys, "--columns", "price")
    assert code == 78
    assert err.startswith("NO_COLUMN: no column price in shop.orders; it has id, amount")


def test_an_interruption_tells_where_to_go_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind the rows that were printed: not one is missing, and none comes twice."""
    printed = RowsOut.write
    written: list[Any] = []

    def interrupted(out: RowsOut, frame: Any) -> None:
        if len(written) == 2:
            signal.raise_signal(signal.SIGINT)
        written.append(frame)
        printed(out, frame)

    with monkeypatch.context() as patched:
        patched.setattr(RowsOut, "write", interrupted)
        code, first, err = run(monkeypatch, capsys, "--format", "json")
    assert code == 130
    token = err.split("--from '")[1].split("'")[0]
    code, rest, _ = run(monkeypatch, capsys, "--from", token, "--until", "now", "--format", "json")
    ids = sorted(json.loads(line)["id"] for line in (first + rest).splitlines())
    assert (code, ids) == (0, sorted(f"order-{n}" for n in range(57)))


def test_deletions_are_printed_as_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the latest rows: the column is there, and can be asked for."""
    book = Book()
    book.publish({"order-1": 1.0})
    book.take()
    book.delete(["order-1"])
    monkeypatch.setattr(command, "opened", lambda _name: book.product())
    chosen = ("--until", "now", "--columns", "id,amount,_deleted", "--format", "csv")
    code, out, _ = run(monkeypatch, capsys, *chosen)
    assert (code, out.splitlines()[1:]) == (0, ["order-1,1.0,False", "order-1,,True"])


@pytest.fixture(autouse=True)
def _own_interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, wherever the tests were started from."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_times_are_printed_to_the_nanosecond(capsys: pytest.CaptureFixture[str]) -> None:
    """At any depth; Python's own end with microseconds."""
    at = pl.Series("at", [1_700_000_000_000_000_123, None]).cast(pl.Datetime("ns", "UTC"))
    frame = at.to_frame().with_columns(each=pl.concat_list("at"), held=pl.struct("at"))
    RowsOut(RowsFormat.JSON).write(frame)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    text = "2023-11-14T22:13:20.000000123+00:00"
    assert first == {"at": text, "each": [text], "held": {"at": text}}
    assert second == {"at": None, "each": [None], "held": {"at": None}}


def test_a_column_that_is_named_twice_is_printed_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No frame has two of one name."""
    chosen = ("--columns", "id,amount,id", "--limit", "1", "--format", "csv")
    code, out, _ = run(monkeypatch, capsys, *chosen)
    assert (code, out.splitlines()[0]) == (0, "id,amount")


def test_csv_without_rows_has_its_head(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file without a line is no CSV to most who read it."""
    asked = ("--from", "end", "--until", "now", "--format", "csv", "--columns", "id,_offset")
    assert run(monkeypatch, capsys, *asked) == (0, "id,_offset\n", "")


def test_a_broker_that_goes_away_leaves_where_to_go_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind the rows that were printed, as an interruption does."""
    given = Reading.__next__
    frames: list[Any] = []

    def cut_off(reading: Reading) -> Any:
        if frames:
            raise UnavailableError("no answer from the broker")
        frames.append(given(reading))
        return frames[0]

    with monkeypatch.context() as patched:
        patched.setattr(Reading, "__next__", cut_off)
        code, first, err = run(monkeypatch, capsys, "--format", "json")
    assert (code, err.splitlines()[1]) == (69, "UNAVAILABLE: no answer from the broker")
    token = err.split("--from '")[1].split("'")[0]
    code, rest, _ = run(monkeypatch, capsys, "--from", token, "--until", "now", "--format", "json")
    ids = sorted(json.loads(line)["id"] for line in (first + rest).splitlines())
    assert (code, ids) == (0, sorted(f"order-{n}" for n in range(57)))
