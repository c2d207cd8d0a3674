"""Readers of tables on disk, while these are written, merged and cleaned up."""

import time
from pathlib import Path
from typing import Any

import pytest
from tests.reader.racing import age, product, race
from tests.reader.shop import assert_each_once, places
from tests.snapshot.formats import CLASSES, FORMATS
from tests.snapshot.keepers import TARGET
from tests.snapshot.writers import Orders, take_in_short_commits

from headwater.adapters.parquet import reading as parquet_reading
from headwater.clock import ManualClock
from headwater.errors import ReadRefusedError
from headwater.snapshot.upkeep import Upkeep

DAY_MS = 86_400_000

pytestmark = pytest.mark.parametrize("format_", FORMATS)


@pytest.mark.parametrize(
    ("snapshots", "readers"),
    [(8, 2), pytest.param(120, 4, marks=pytest.mark.faults)],
    ids=["few", "many"],
)
def test_readers_see_each_event_once_whatever_upkeep_does(
    format_: str, snapshots: int, readers: int, tmp_path: Path
) -> None:
    """Real processes; each reader stops and resumes anywhere, and begins anew when it is told to.

    In the end the table is the log, and was merged all along.
    """
    told = race(tmp_path, format_, snapshots, readers)
    assert all(reads for reads, _ in told)
    orders = Orders(tmp_path / "table", format_, 60 * snapshots)
    assert orders.taken() == orders.published()
    assert orders.verify().outcome == "equal"


@pytest.mark.parametrize("moment", ["before the first row", "among the rows", "with a token"])
def test_a_version_that_upkeep_took_is_told_and_reading_anew_works(
    format_: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SNAPSHOT_GONE, never damage and never fewer rows."""
    monkeypatch.setattr(parquet_reading, "BATCH_ROWS", 8)
    reader = product(Orders(tmp_path / "table", format_, 300))
    take_in_short_commits(Orders(tmp_path / "table", format_, 120))
    reading = reader.read(until="now")
    if moment != "before the first row":
        next(reading)
    orders = Orders(tmp_path / "table", format_, 300)
    take_in_short_commits(orders)
    later = ManualClock(at_s=time.time() + 3 * DAY_MS / 1_000)
    for _ in range(2):
        age(tmp_path / "table", orders.table())
        done = Upkeep(orders.table(), TARGET, DAY_MS, later).run()
    assert done.swept is not None
    if moment == "with a token":
        reading = reader.read(reading.token, "now")
    with pytest.raises(ReadRefusedError, match="Begin again") as refused:
        list(reading)
    assert refused.value.code == "SNAPSHOT_GONE"
    anew = [place for frame in reader.read(until="now") for place in places(frame)]
    assert_each_once(anew, orders.published())


def test_files_that_go_under_a_dataset_are_told_the_same(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a version and the rows of it."""
    orders = Orders(tmp_path / "table", format_, 300)
    take_in_short_commits(orders)
    kind: Any = CLASSES[format_]
    dataset = kind.dataset

    def going(table: Any, version: int) -> Any:
        found = dataset(table, version)
        for path in tmp_path.rglob("part-*.parquet"):
            path.unlink()
        return found

    monkeypatch.setattr(kind, "dataset", going)
    with pytest.raises(ReadRefusedError) as refused:
        list(product(orders).snapshot().batches())
    assert refused.value.code == "SNAPSHOT_GONE"


def test_files_that_go_under_a_lazy_frame_are_told_the_same(format_: str, tmp_path: Path) -> None:
    """Between the frame and its rows, which Polars reads when they are asked for."""
    orders = Orders(tmp_path / "table", format_, 300)
    take_in_short_commits(orders)
    frame = product(orders).snapshot().lazy()
    for path in tmp_path.rglob("part-*.parquet"):
        path.unlink()
    with pytest.raises(ReadRefusedError) as refused:
        frame.collect()
    assert refused.value.code == "SNAPSHOT_GONE"
