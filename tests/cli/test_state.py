"""`headwater state inspect`: what is stored of a stopped product, and what it refuses."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.assembly.parking import parked_stores
from headwater.assembly.project import load_product
from headwater.cli.main import main
from headwater.state import KeyedStore, StoreSettings

PRODUCT: Final = """
import polars as pl

from headwater import DataProduct

product = DataProduct(name="air.latest", owner="me@example.com")
flow = product.stream("air.seen", contract=1).with_columns(own=pl.col("at"))
product.publish(flow.latest({key}, by="{by}").select("id", "n", "at"), contract=1)
"""
FIELDS: Final[list[dict[str, Any]]] = [
    {"name": "id", "type": "string", "doc": "d"},
    {"name": "n", "type": "long", "doc": "d"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "d"},
]
KEYS: Final = 5


def project(root: Path, *, by: str = "at", secret: str = "", key: list[str] | None = None) -> None:
    """A product that keeps the latest of each key, and state of it in two tasks."""
    folder = root / "products/air/latest"
    folder.mkdir(parents=True)
    columns = key or ["id"]
    (folder / "product.py").write_text(PRODUCT.format(by=by, key=columns))
    fields = [{**f, "sensitivity": "secret"} if f["name"] == secret else f for f in FIELDS]
    for topic in ("air.seen", "air.latest"):
        file = root / "schemas" / topic.replace(".", "/") / "v1.avsc"
        file.parent.mkdir(parents=True)
        schema = {"type": "record", "name": "Seen", "doc": "d", "owner": "me", "fields": fields}
        file.write_text(json.dumps({**schema, "key": columns}))
    store = opened(root)
    (stage,) = load_product("air.latest", root).plans["air.latest"].stateful
    for task in (0, 1):
        store.assign(task)
        names = pl.DataFrame({"id": [f"k{task}{n}" for n in range(KEYS)], "n": range(KEYS)})
        time = pl.datetime_range(
            pl.datetime(2024, 1, 1), pl.datetime(2024, 1, KEYS), time_unit="ms", time_zone="UTC"
        )
        rows = names.select(time.alias(by)) if by != "n" else names.select("n")
        keys = pl.Series(stage.keys.encode(names), dtype=pl.Binary)
        store.write(pl.Series([task] * KEYS), keys, rows)
        store.keep()
        store.committed({task: 7 + task})
        store.restored(task)
        store.release(task)


def opened(root: Path) -> KeyedStore:
    """The store of the step, as a run has it."""
    (stage,) = load_product("air.latest", root).plans["air.latest"].stateful
    return KeyedStore(stage.rows, stores(root), StoreSettings("topic-id"))


def stores(root: Path) -> RocksDbStores:
    """The stores on disk."""
    folder = root / ".headwater/state/air.latest/latest-1"
    return RocksDbStores(folder, RocksDbMemory(8 << 20))


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command in the project; its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        words = ["headwater", "state", "inspect", "air.latest", *arguments]
        monkeypatch.setattr(sys, "argv", words)
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


def test_keys_and_mark_are_told_by_task(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each, with the place in the changelog that its store is up to."""
    project(tmp_path)
    assert inspect("latest-1") == 0
    heading, columns, first, second = capsys.readouterr().out.splitlines()
    assert heading.startswith("air.latest, step latest-1: 10 keys of id -> at Datetime")
    assert columns.split() == ["task", "keys", "changelog", "up", "to", "written"]
    assert first.split()[:3] == ["0", "5", "air.latest.latest-1.changelog[0]@7"]
    assert second.split()[:3] == ["1", "5", "air.latest.latest-1.changelog[1]@8"]


def test_the_row_of_a_key_is_shown(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is stored, with times as texts; a key that is not there is exit 1."""
    project(tmp_path)
    assert inspect("latest-1", "--key", "k13", "--format", "json") == 0
    (store,) = json.loads(capsys.readouterr().out)["stores"]
    assert store["changelog"] == "air.latest.latest-1.changelog"
    assert [task["found"] for task in store["tasks"]] == [None, {"at": "2024-01-04T00:00:00Z"}]
    assert store["tasks"][1]["mark"]["changelog_offset"] == 8
    assert inspect("latest-1", "--key", "k13") == 0
    assert 'task 1: {"at": "2024-01-04T00:00:00Z"}' in capsys.readouterr().out
    assert inspect("latest-1", "--key", "k99") == 1
    assert "there is no such key" in capsys.readouterr().out


def test_a_key_of_several_columns_is_a_json_object(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each column of its type; anything else is a mistake, told without repeating it."""
    project(tmp_path, key=["id", "n"])
    assert inspect("latest-1", "--key", '{"id": "k02", "n": 2}') == 0
    assert "2024-01-03T00:00:00Z" in capsys.readouterr().out
    for wrong in ("k02", '{"id": "k02"}', '{"id": "k02", "n": "two"}'):
        assert inspect("latest-1", "--key", wrong) == 78
        assert capsys.readouterr().err.splitlines() == [
            "BAD_KEY: --key: the key of latest-1 is id (String), n (Int64); write a JSON object"
        ]


def test_what_is_sensitive_is_masked(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in dead letters."""
    project(tmp_path, secret="at")
    assert inspect("latest-1", "--key", "k00") == 0
    told = capsys.readouterr().out
    assert "2024" not in told.split("\n", 1)[1]
    assert '"at": "<redacted>"' in told


def test_where_something_is_sensitive_no_other_name_is_trusted(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step put the secret under a name of its own."""
    project(tmp_path, secret="at", by="own")
    assert inspect("latest-1", "--key", "k00") == 0
    assert '"own": "<redacted>"' in capsys.readouterr().out


def parked(root: Path) -> None:
    """A product that keeps the order of its letters, and two keys that wait in its first task."""
    project(root)
    file = root / "products/air/latest/product.py"
    text = file.read_text().replace("DataProduct\n", "DataProduct, DeadLetters\n", 1)
    text = text.replace('com")', 'com", dead_letters=DeadLetters(keep_order=True))')
    file.write_text(text.replace(".latest(['id'], by=\"at\")", ""))
    loaded = load_product("air.latest", root)
    memory, folder = RocksDbMemory(8 << 20), root / ".headwater/state"
    (held,) = parked_stores(
        loaded, lambda output, step: RocksDbStores(folder / output / step, memory), str
    )
    held.store.assign(0)
    rows = pl.DataFrame({"first": [17, 21, None], "keys": [1, 1, 2], "letters": [3, 1, 4]})
    keys = pl.Series([b"kUA-1545", b"k" + (7).to_bytes(8, "big"), b"n"], dtype=pl.Binary)
    held.store.write(pl.Series([0] * len(keys)), keys, rows)
    held.store.keep()
    held.store.committed({0: 5})
    held.store.restored(0)
    held.store.release(0)


def test_keys_that_wait_behind_a_letter_are_shown_by_input(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many, and of one the first record set aside and its letters; as texts and numbers."""
    parked(tmp_path)
    assert inspect("air.seen") == 0
    heading, _, task = capsys.readouterr().out.splitlines()
    assert (
        heading
        == "air.latest.dead-letters, step air.seen: 2 keys of key -> first Int64, letters Int64"
    )
    assert task.split()[:3] == ["0", "2", "air.latest.dead-letters.air.seen.changelog[0]@5"]
    assert inspect("air.seen", "--key", "UA-1545") == 0
    assert 'task 0: {"first": 17, "letters": 3}' in capsys.readouterr().out
    assert inspect("air.seen", "--key", "7") == 0
    assert 'task 0: {"first": 21, "letters": 1}' in capsys.readouterr().out
    assert inspect("air.seen", "--key", "UA-1") == 1
    capsys.readouterr()
    assert inspect("latest-2") == 78
    wanted = "air.latest has no step latest-2 with state; there are: air.seen"
    assert capsys.readouterr().err.splitlines() == [f"UNKNOWN_STEP: {wanted}"]


def test_both_sides_of_a_join_have_one_store(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told once."""
    project(tmp_path)
    contract = tmp_path / "schemas/air/seen/v1.avsc"
    seen = json.loads(contract.read_text()) | {"eventTime": "at"}
    for topic in ("air/seen", "air/heard"):
        file = tmp_path / "schemas" / topic / "v1.avsc"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(seen))
    product = tmp_path / "products/air/latest/product.py"
    heard = 'product.stream("air.heard", contract=1)'
    joined = f'.join({heard}, within="1m", columns={{"n": "m"}})'
    text = product.read_text().replace(".latest(['id'], by=\"at\")", joined)
    product.write_text(text.replace('.with_columns(own=pl.col("at"))', ""))
    assert inspect("stream-join-1") == 0
    heading, _ = capsys.readouterr().out.splitlines()
    assert heading.startswith("air.latest, step stream-join-1: 0 keys of ")


def test_a_product_that_runs_is_refused(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process holds the task; it is told what to do."""
    project(tmp_path)
    with closing(stores(tmp_path).open(1)):
        assert inspect("latest-1") == 75
    told = capsys.readouterr().err
    assert told.startswith("STATE_IN_USE: air.latest runs and holds its state in ")
    assert told.strip().endswith("stop it, then look.")


def test_state_that_is_damaged_is_told(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of it is shown; the next run makes it anew."""
    project(tmp_path)
    current = tmp_path / ".headwater/state/air.latest/latest-1/0/rocksdb/CURRENT"
    current.write_text("nonsense\n")
    assert inspect("latest-1") == 78
    assert capsys.readouterr().err.startswith("STATE_DAMAGED: The state in ")


def test_an_unknown_step_is_told_with_those_that_have_state(
    tmp_path: Path, inspect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step without state is none of them."""
    project(tmp_path)
    assert inspect("with-columns-1") == 78
    wanted = "air.latest has no step with-columns-1 with state; there are: latest-1"
    assert capsys.readouterr().err.splitlines() == [f"UNKNOWN_STEP: {wanted}"]


def test_a_machine_without_state_says_where_to_look(
    tmp_path: Path,
    inspect: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It makes no directory."""
    project(tmp_path)
    monkeypatch.setenv("HEADWATER_STATE_DIR", "elsewhere")
    assert inspect("latest-1") == 0
    assert "look where the setting `state_dir` points" in capsys.readouterr().out
    assert not (tmp_path / "elsewhere").exists()
