"""The flights of 2013 as frames: counts, times, identity, order."""

from functools import cache
from importlib import metadata
from pathlib import Path

import polars as pl
import pytest

from headwater.assembly import flights
from headwater.assembly.flights import SOURCES, Source, data_directory, repeated
from headwater.contract import load_contract
from headwater.errors import ConfigurationError

SCHEMAS = Path(__file__).parents[2] / "schemas"
RECORDS = {
    "operations.departures": 336_776,
    "meteorology.observations": 26_115,
    "fleet.aircraft": 3_322,
    "reference.airports": 1_458,
    "reference.airlines": 16,
}
every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.topic)


@cache
def frame_of(topic: str) -> pl.DataFrame:
    """The whole frame of a topic, read once."""
    source = next(source for source in SOURCES if source.topic == topic)
    return source.read(data_directory())


@every_source
def test_every_record_of_the_data_set_is_there(source: Source) -> None:
    """Nothing is lost on the way from the files."""
    assert frame_of(source.topic).height == RECORDS[source.topic]


@every_source
def test_a_frame_has_exactly_the_columns_of_its_contract(source: Source) -> None:
    """Names, types and order are those of the contract."""
    contract = load_contract(SCHEMAS, source.topic, source.contract)
    assert dict(frame_of(source.topic).schema) == contract.columns


@every_source
def test_a_source_is_in_event_time_order(source: Source) -> None:
    """Globally, and so per key and per partition too."""
    event_time = load_contract(SCHEMAS, source.topic, source.contract).event_time
    assert event_time is None or frame_of(source.topic)[event_time].is_sorted()


def test_flight_ids_are_unique_and_stable() -> None:
    """The id of a flight is the same in every feed."""
    ids = frame_of("operations.departures")["flight_id"]
    assert ids.n_unique() == ids.len()
    assert ids.head(2).to_list() == ["20130101-UA1545-EWR-0515", "20130101-UA1714-LGA-0529"]


def test_the_schedule_agrees_with_the_clocks_of_new_york() -> None:
    """UTC times come from the data set's own UTC hour, also on the days when clocks change."""
    frame = frame_of("operations.departures")
    local = frame["sched_dep"].dt.convert_time_zone("America/New_York")
    told = local.dt.strftime("%Y%m%d-%H%M")
    ids = frame["flight_id"].str.split("-")
    assert (told == ids.list.get(0) + "-" + ids.list.get(3)).all()


def test_a_departure_is_its_schedule_plus_its_delay_and_null_when_cancelled() -> None:
    """A cancelled flight has neither a delay nor a departure."""
    frame = frame_of("operations.departures")
    late = (frame["dep_time"] - frame["sched_dep"]).dt.total_minutes().cast(pl.Float64)
    assert late.equals(frame["dep_delay"].rename(late.name), null_equal=True)
    assert frame["dep_time"].null_count() == frame["dep_delay"].null_count() == 8_255


def test_missing_values_are_nulls() -> None:
    """No `NA` stays behind as text."""
    assert frame_of("operations.departures")["tailnum"].null_count() == 2_512
    assert frame_of("meteorology.observations")["wind_gust"].null_count() == 20_778
    for topic in RECORDS:
        texts = frame_of(topic).select(pl.col(pl.String))
        assert not any((texts[name] == "NA").any() for name in texts.columns)


def test_copies_follow_their_flight_with_ids_of_their_own() -> None:
    """More copies keep the order of events and stay distinct."""
    frame = pl.DataFrame({"id": ["a", "b"], "at": [1, 2]})
    assert repeated(frame, "id", 3).rows() == [
        ("a", 1),
        ("a.2", 1),
        ("a.3", 1),
        ("b", 2),
        ("b.2", 2),
        ("b.3", 2),
    ]


def test_slices_hold_every_copy_in_bounded_pieces() -> None:
    """Memory does not grow with the number of copies."""
    departures = SOURCES[-1]
    slices = list(departures.slices(frame_of(departures.topic), 6))
    assert sum(rows.height for rows in slices) == 2_020_656
    assert max(rows.height for rows in slices) <= flights.SLICE_ROWS
    ids = pl.concat([rows["flight_id"] for rows in slices])
    assert ids.n_unique() == ids.len()


def test_an_absent_data_set_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install."""

    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(ConfigurationError, match=r"pip install 'headwater\[dev\]'"):
        data_directory()
