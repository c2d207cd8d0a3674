"""What a year of flights becomes: published log, snapshot and batch computation are the same rows.

The log is in memory, the tables are on disk.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from tests.products import batch
from tests.snapshot.formats import FORMATS

from headwater.adapters.memory import (
    MemoryBroker,
    MemoryFollower,
    MemoryRangeReader,
    MemoryTopics,
)
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.flights import aircraft, data_directory, departures
from headwater.contract import Encoder, from_arrow, load_contract
from headwater.ports import DaysClosed, Table, TopicSettings
from headwater.reader.product import Product, Sources
from headwater.snapshot.days import Mark, closed_days, closing
from headwater.snapshot.latest import LatestSnapshotter
from headwater.snapshot.place import PLACE
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.verifier import Verifier
from headwater.snapshot.writer import Snapshotter
from headwater.testing import ProductDriver

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("format_", FORMATS)]

ROOT: Final = Path(__file__).parents[2]
PARTITIONS: Final = 4
ORDER: Final = ["_partition", "_offset"]
SLICE_ROWS: Final = 20_000


class Published:
    """The rows of a product in a log, taken into a table in three snapshots."""

    def __init__(self, topic: str, version: int, rows: pl.DataFrame, opened: Table) -> None:
        self.contract = load_contract(ROOT / "schemas", topic, version)
        self.table = opened
        self.broker = MemoryBroker()
        self.broker.create(TopicSettings(topic, PARTITIONS, "log", {"cleanup.policy": "delete"}))
        self.registry = MemoryRegistry()
        subject = f"{topic}-value"
        found = self.registry.register(subject, self.contract.text, compatibility="FULL")
        self._encoder = Encoder(self.contract, found.schema_id)
        self._schema_id = found.schema_id
        self.rows = rows
        self.divided_by: str | None = None

    def codec(self) -> RowCodec:
        """One more: each serves one thread."""
        found = RowCodec(self.contract, self._schema_id, lookup=self.registry.schema)
        return found.divided(self.divided_by)

    def take(self, mode: Callable[..., Snapshotter | LatestSnapshotter]) -> None:
        """Publish in three parts, a snapshot after each, and prove the last."""
        for part in self.rows.iter_slices(self.rows.height // 3 + 1):
            self._publish(part)
            mode(
                product=self.contract.topic,
                topic=self.contract.topic,
                topics=MemoryTopics(self.broker),
                reader=MemoryRangeReader(self.broker),
                table=self.table,
                codec=self.codec(),
            ).take()
        verdict = Verifier(
            topic=self.contract.topic,
            topics=MemoryTopics(self.broker),
            reader=MemoryRangeReader(self.broker),
            open_table=lambda: self.table,
            codecs=lambda _id: self.codec(),
        ).verify()
        assert verdict.outcome == "equal"

    def _publish(self, rows: pl.DataFrame) -> None:
        for part in rows.iter_slices(SLICE_ROWS):
            encoded = self._encoder.encode(part.with_row_index("_row"))
            for key, value in zip(encoded.keys, encoded.values, strict=True):
                self.broker.append(self.contract.topic, value, key=key)

    def log(self) -> pl.DataFrame:
        """Every row of the log with its place, as a consumer reads it, in order."""
        product = Product(
            lambda: self.contract,
            Sources(
                topics=MemoryTopics(self.broker),
                registry=self.registry,
                open_table=lambda: self.table,
                open_range_reader=lambda: MemoryRangeReader(self.broker),
                open_follower=lambda: MemoryFollower(self.broker),
            ),
        )
        return pl.concat(list(product.read("beginning", "now"))).sort(ORDER)

    def stored(self) -> pl.DataFrame:
        """Every row of the table, in the contract's types, in order."""
        version = self.table.version()
        assert version is not None
        found = self.table.dataset(version).to_table()
        wanted = [*self.contract.columns, *PLACE.names]
        return from_arrow(found.select(wanted), self.contract).sort(ORDER)


def opened(directory: Path, format_: str, topic: str) -> Table:
    """A table that is not there yet."""
    return FORMATS[format_](directory / topic, product=topic, topic=topic)


def test_log_snapshot_and_batch_are_the_same_rows(format_: str, tmp_path: Path) -> None:
    """Mode "append": 328,521 flights that left."""
    topic = "operations.departure-delays"
    flights, planes = departures(data_directory()), aircraft(data_directory())
    driver = ProductDriver(ROOT / "products/operations/departure_delays")
    driver.table("fleet.aircraft", planes)
    published = driver.run(flights).frame()
    year = Published(topic, 2, published, opened(tmp_path, format_, topic))
    year.take(Snapshotter)
    stored = year.stored()
    assert stored.equals(year.log())
    batch.assert_delays(stored.select(published.columns), batch.departure_delays(flights, planes))


def test_latest_is_the_fold_of_the_log_by_its_key(format_: str, tmp_path: Path) -> None:
    """Mode "latest": the last flying day of each aircraft, of 266,786."""
    topic = "fleet.utilisation"
    published = ProductDriver(ROOT / "products/fleet/utilisation").run(departures(data_directory()))
    year = Published(topic, 1, published.frame(), opened(tmp_path, format_, topic))
    year.take(LatestSnapshotter)
    last = year.log().unique(["_partition", "tailnum"], keep="last", maintain_order=True)
    assert year.stored().equals(last.sort(ORDER))
    assert last["tailnum"].n_unique() == last.height


@pytest.mark.timeout(300)  # thousands of files, each durable
def test_daily_closes_every_day_of_the_year(format_: str, tmp_path: Path) -> None:
    """Mode "daily": 365 days, each in files of its own, the rows those of the log."""
    topic = "operations.departure-delays"
    flights, planes = departures(data_directory()), aircraft(data_directory())
    driver = ProductDriver(ROOT / "products/operations/departure_delays")
    driver.table("fleet.aircraft", planes)
    published = driver.run(flights).frame()
    year = Published(topic, 2, published, opened(tmp_path, format_, topic))
    year.divided_by = "_date"
    event_time = year.contract.event_time
    assert event_time is not None
    times = published[event_time].cast(pl.Datetime("ms", "UTC"))
    third = published.height // 3 + 1
    # an input's watermark is behind all that is still to come
    least = [times[place:].min() for place in (third, 2 * third)]
    marks = iter([*least, datetime(2014, 1, 2, tzinfo=UTC)])

    def closed() -> DaysClosed | None:
        mark = next(marks)
        assert isinstance(mark, datetime)
        return closing([Mark(int(mark.timestamp() * 1_000))], 0)

    year.take(partial(Snapshotter, closing=closed))
    assert year.stored().equals(year.log())
    days = closed_days(record for _, record in year.table.commits())
    assert days.corrections == {}
    whole = [date(2013, 1, 1) + timedelta(days=n) for n in range(365)]
    assert [each for each in whole if days.state(each) != "complete"] == []
    held = dict(
        zip(*published.select(times.dt.date().alias("day"))["day"].value_counts(), strict=True)
    )
    counts: dict[str | None, int] = {}
    for file in year.table.files():
        counts[file.value] = counts.get(file.value, 0) + (file.rows or 0)
    assert counts == {str(day): rows for day, rows in held.items()}
    assert counts.keys() >= set(map(str, whole))
