"""Tables that take the columns of new contract versions, held against the log."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from tests.reader.opened import opened
from tests.snapshot import processes
from tests.snapshot.formats import FORMATS
from tests.snapshot.versions import TOPIC, Versions

from headwater.adapters.memory import MemoryBroker
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.contract import Contract, parse_contract
from headwater.errors import ReadRefusedError
from headwater.ports import Change, CommitRecord, Table, TopicSettings
from headwater.reader.product import Product
from headwater.snapshot.evolution import Format
from headwater.snapshot.rows import RowCodec, contract_of
from headwater.snapshot.statistics_text import from_bytes
from headwater.snapshot.upkeep import Upkeep
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.writer import Taken

GATES: dict[str, Format] = {
    "memory": "parquet",
    "delta": "delta",
    "iceberg": "iceberg",
    "parquet": "parquet",
}
PLACE = ["_partition", "_offset"]


@dataclass
class World:
    """A topic of two partitions, a registry, and one table of a mode and a format.

    `by` is the column of the contract that divides it, or "_date".
    """

    mode: str
    format: str
    directory: Path
    by: str | None = None
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    storage: MemoryStorage = field(default_factory=MemoryStorage)

    def __post_init__(self) -> None:
        self.broker.create(TopicSettings(TOPIC, 2, "log", {"cleanup.policy": "delete"}))

    def publish(self, contract: Contract, events: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Events under a version, which is registered."""
        framed = b"\0" + self.schema_id(contract).to_bytes(4, "big")
        for key, body in events:
            self.broker.append(TOPIC, None if body is None else framed + body, key=key)

    def schema_id(self, contract: Contract) -> int:
        """Of a version, which is registered by that."""
        found = self.registry.register(f"{TOPIC}-value", contract.text, compatibility="NONE")
        return found.schema_id

    def table(self) -> Table:
        """A new handle."""
        if self.format == "memory":
            return MemoryTable(self.storage)
        return FORMATS[self.format](self.directory / "table", product=TOPIC, topic=TOPIC)

    def codec(self, schema_id: int) -> RowCodec:
        """Of a registered schema."""
        text = self.registry.schema(schema_id)
        contract = contract_of(text, schema_id, TOPIC)
        return RowCodec(contract, schema_id, lookup=self.registry.schema)

    def take(self, contract: Contract) -> Taken:
        """Take a snapshot under a version."""
        divided = self.codec(self.schema_id(contract)).divided(self.by)
        return processes.take(self, divided, mode=self.mode, clock=self.broker.clock)

    def verify(self) -> Verdict:
        """Verify it, as a process of its own would."""
        clock = self.broker.clock
        return processes.verifier(self, TOPIC, self.codec, full=True, clock=clock).verify()

    def product(self, contract: Contract) -> Product:
        """As a consumer opens it, under the newest version."""
        newest = partial(contract_of, contract.text, 0, TOPIC)
        return opened(self, newest, self.registry, self.broker.clock)

    def expected(self, contract: Contract) -> pl.DataFrame:
        """The rows there should be, as the log gives them under a version."""
        rows = pl.concat(list(self.product(contract).events("beginning", "now")))
        if self.mode == "latest":
            rows = rows.filter(pl.col("_offset") == pl.col("_offset").max().over(*contract.key))
        return rows.sort(PLACE)

    def held(self) -> dict[tuple[int, int], dict[str, object]]:
        """Every row of the table as it is stored, by its place."""
        table = self.table()
        rows = [
            row
            for file in table.files()
            for batch in table.scan(file.name)
            for row in batch.to_pylist()
        ]
        return {(row["_partition"], row["_offset"]): row for row in rows}


@contextmanager
def world(mode: str, format_: str) -> Iterator[World]:
    """One in a directory of its own."""
    with TemporaryDirectory() as directory:
        yield World(mode, format_, Path(directory))


def assert_reads_as_the_log(made: World, contract: Contract) -> None:
    """The snapshot gives what the log gives for the same events, in every way it is read."""
    expected = made.expected(contract)
    snapshot = made.product(contract).snapshot()
    frames = [frame for frame, _, _ in snapshot.frames()]
    assert_frame_equal(pl.concat(frames).sort(PLACE), expected)
    stored = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(snapshot.batches())))
    assert_frame_equal(snapshot.lazy().collect().sort(PLACE), stored.sort(PLACE))
    assert stored.columns == expected.columns
    one = expected.columns[-4]
    assert_frame_equal(snapshot.lazy().select(one).collect(), stored.select(one))


@pytest.mark.parametrize("mode", ["append", "latest"])
@pytest.mark.parametrize("format_", ["memory", *FORMATS])
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**48))
def test_a_table_follows_every_change_that_the_gate_lets_through(
    mode: str, format_: str, seed: int
) -> None:
    """After each version verification is green, and the snapshot reads as the log."""
    versions = Versions(seed, GATES[format_], 3)
    event(f"{len(versions.contracts)} versions")
    with world(mode, format_) as made:
        for number, contract in enumerate(versions.contracts):
            if number:  # producers that have not moved yet
                made.publish(versions.contracts[number - 1], versions.events(number - 1, 2))
            made.publish(contract, versions.events(number, 5))
            made.take(contract)
            verdict = made.verify()
            assert (verdict.outcome, verdict.differences) == ("equal", ())
            assert_reads_as_the_log(made, contract)


def orders(version: int, *fields: dict[str, Any]) -> Contract:
    """A version of orders, with an id and these fields."""
    first = {"name": "id", "type": "string", "doc": "d"}
    listed = [first, *({"doc": "d", **each} for each in fields)]
    schema = {"type": "record", "name": "R", "key": "id", "fields": listed}
    path = Path(f"v{version}.avsc")
    return parse_contract(json.dumps(schema), topic=TOPIC, version=version, path=path)


CITY: dict[str, Any] = {"name": "city", "type": "string"}
TOWN = {**CITY, "name": "town", "aliases": ["city"]}
FEE = {"name": "fee", "type": "int", "default": 7}


def order(key: str, *fields: int | str) -> tuple[bytes, bytes]:
    """An event whose fields are small numbers and short texts."""
    written = (
        bytes([2 * each]) if isinstance(each, int) else bytes([2 * len(each)]) + each.encode()
        for each in (key, *fields)
    )
    return key.encode(), b"".join(written)


@pytest.mark.parametrize("format_", ["memory", *FORMATS])
def test_a_renamed_field_keeps_its_column_and_a_dropped_one_stays(format_: str) -> None:
    """The column has the name it began with; what is dropped is null from then on."""
    one, two = orders(1, CITY, {**FEE, "name": "tax"}), orders(2, TOWN, FEE)
    with world("append", format_) as made:
        made.publish(one, [order("a", "Ulm", 5)])
        made.take(one)
        made.publish(two, [order("a", "Bonn", 6)])
        assert made.take(two).version is not None
        names = [each["name"] for each in one.schema["fields"]]
        columns = made.table().columns()
        assert columns is not None
        assert columns.names == [*names, "_partition", "_offset", "_timestamp", "fee"]
        held = [made.held()[place] for place in sorted(made.held())]
        assert [(each["city"], each["tax"], each["fee"]) for each in held] == [
            ("Ulm", 5, None),
            ("Bonn", None, 6),
        ]
        frame = made.product(two).snapshot().lazy().sort("_offset").collect()
        assert frame.select("town", "fee").rows() == [("Ulm", 7), ("Bonn", 6)]
        assert made.verify().outcome == "equal"


@pytest.mark.parametrize("format_", ["memory", *FORMATS])
def test_the_latest_of_each_key_is_written_anew_under_the_new_version(format_: str) -> None:
    """Rows that stay have the new columns' defaults, and keep what the contract dropped."""
    one, two = orders(1, CITY, {**FEE, "name": "tax"}), orders(2, TOWN, FEE)
    with world("latest", format_) as made:
        made.publish(one, [order("a", "Ulm", 5), order("b", "Jena", 4)])
        made.take(one)
        made.publish(two, [order("b", "Bonn", 6)])
        made.take(two)
        held = {each["id"]: each for each in made.held().values()}
        assert (held["a"]["city"], held["a"]["tax"], held["a"]["fee"]) == ("Ulm", 5, 7)
        assert (held["b"]["city"], held["b"]["tax"], held["b"]["fee"]) == ("Bonn", None, 6)
        assert made.verify().outcome == "equal"


@pytest.mark.parametrize("format_", ["memory", *FORMATS])
def test_files_of_several_versions_are_merged_and_read_as_before(format_: str) -> None:
    """Upkeep puts rows of two versions into one file: each is still told by the commit it is of."""
    one, two = orders(1, CITY, {**FEE, "name": "tax"}), orders(2, TOWN, FEE)
    with world("append", format_) as made:
        made.publish(one, [order("a", "Ulm", 5)])
        made.take(one)
        for fee in (4, 5, 6):
            made.publish(two, [order("a", "Bonn", fee)])  # of one key, so of one partition
            made.take(two)
        files = made.table().files()
        target = sum(each.size or 0 for each in files)
        assert Upkeep(made.table(), target, keep_ms=0).run().merged == len(files) == 4
        assert len(made.table().files()) == 1
        assert made.verify().outcome == "equal"
        assert_reads_as_the_log(made, two)
        made.publish(two, [order("a", "Jena", 7)])
        made.take(two)
        assert made.verify().outcome == "equal"
        assert_reads_as_the_log(made, two)


@pytest.mark.parametrize("mode", ["append", "latest"])
@pytest.mark.parametrize("format_", FORMATS)
def test_a_commit_asks_for_old_commits_only_under_another_schema(
    mode: str, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it costs the same however many there were."""
    one, two = orders(1, CITY), orders(2, TOWN)
    asked: list[str] = []
    with world(mode, format_) as made:
        kind = type(made.table())
        commits = kind.commits

        def counted(table: Any, after: int = 0) -> Any:
            asked.append(format_)
            return commits(table, after)

        monkeypatch.setattr(kind, "commits", counted)
        for contract, key, expected in ((one, "a", 0), (one, "b", 0), (two, "c", 1), (two, "d", 1)):
            made.publish(contract, [order(key, "Ulm")])
            made.take(contract)
            assert len(asked) == expected


def test_a_table_evolves_with_the_first_rows_and_not_before() -> None:
    """Without rows there is no commit, and readers of the new version have its defaults."""
    one, two = orders(1, CITY), orders(2, CITY, FEE)
    with world("append", "memory") as made:
        made.publish(one, [order("a", "Ulm")])
        made.take(one)
        assert made.take(two).version is None
        columns = made.table().columns()
        assert columns is not None
        assert "fee" not in columns.names
        assert made.product(two).snapshot().lazy().collect()["fee"].to_list() == [7]


def test_new_columns_that_are_null_leave_a_dataset_as_it_is() -> None:
    """Then filters go down to the files; a default or another name cannot be given so."""
    note = {"name": "note", "type": ["null", "string"], "default": None}
    versions = [orders(1, CITY), orders(2, CITY, note), orders(3, CITY, note, FEE)]
    with world("append", "delta") as made:
        for contract, event_ in zip(
            versions,
            [order("a", "Ulm"), order("b", "Bonn", 0), order("c", "Jena", 0, 1)],
            strict=True,
        ):
            made.publish(contract, [event_])
            made.take(contract)
            snapshot = made.product(contract).snapshot()
            if contract.version < 3:
                dataset = snapshot.dataset()
                assert dataset.schema.names == snapshot.schema.names
                assert dataset.count_rows() == contract.version
        with pytest.raises(ReadRefusedError) as refused:
            snapshot.dataset()
        assert refused.value.code == "SNAPSHOT_EVOLVED"
        assert sorted(snapshot.duckdb().project("id, fee").fetchall()) == [
            ("a", 7),
            ("b", 7),
            ("c", 1),
        ]
        assert sorted(snapshot.pandas()["fee"]) == [1, 7, 7]


def test_times_without_a_zone_may_come_later_in_delta(tmp_path: Path) -> None:
    """They are a feature of Delta, which the table asks for from then on; deltalake reads it."""
    local = {"type": "long", "logicalType": "local-timestamp-micros"}
    at = {"name": "at", "type": ["null", {"type": "array", "items": local}], "default": None}
    one, two = orders(1, CITY), orders(2, CITY, at)
    made = World("append", "delta", tmp_path)
    made.publish(one, [order("a", "Ulm")])
    made.take(one)
    made.publish(two, [order("b", "Bonn", 0)])
    made.take(two)
    assert made.verify().outcome == "equal"
    assert DeltaTable(tmp_path / "table").protocol().writer_features == [
        "appendOnly",
        "invariants",
        "timestampNtz",
    ]


def test_statistics_follow_a_renamed_field() -> None:
    """What both columns held is told under the newest name."""
    one, two = orders(1, CITY), orders(2, TOWN)
    with world("append", "memory") as made:
        made.publish(one, [order("a", "Ulm")])
        made.take(one)
        made.publish(two, [order("b", "Bonn")])
        made.take(two)
        (_, record) = made.table().commits()[-1]
        assert isinstance(record, CommitRecord)
        content = made.table().statistics(record.statistics or "")
        assert content is not None
        found = from_bytes(content)
        assert list(found.columns) == ["id", "town"]
        assert (found.columns["town"].least, found.columns["town"].greatest) == ("Bonn", "Ulm")


def test_a_column_that_no_commit_brought_is_named() -> None:
    """Another writer's column is found, whatever the versions of the contract added."""
    one, two = orders(1, CITY), orders(2, CITY, FEE)
    with world("append", "delta") as made:
        for contract, event_ in ((one, order("a", "Ulm")), (two, order("b", "Bonn", 1))):
            made.publish(contract, [event_])
            made.take(contract)
        table = made.table()
        columns = table.columns()
        assert columns is not None
        table.commit(Change([], None, columns=columns.append(pa.field("theirs", pa.int64()))))
        (difference,) = made.verify().differences
        assert difference.kind == "recorded"
        assert "theirs is only stored" in difference.detail
