"""Records that break rules of contracts, sent through the real broker between good ones."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.faults.harness import Bench, until

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.contract import contract_path

pytestmark = pytest.mark.kafka

PREFIX = "headwater.error."
EARLY = "delay_minutes >= -15"


def _with_rules(bench: Bench, topic: str, *rules: dict[str, Any]) -> None:
    """Give the contract of a topic these rules of the record, and no others."""
    path: Path = contract_path(bench.folder / "schemas", topic, 1)
    path.write_text(json.dumps({**json.loads(path.read_text()), "rules": list(rules)}))


def _sent(bench: Bench, source: str, flights: pl.DataFrame) -> pl.DataFrame:
    """200 departures, every tenth without a distance that can be, every seventh far too early."""
    place = pl.int_range(pl.len())
    fed = flights.filter(pl.col("dep_delay").is_not_null()).head(200)
    fed = fed.with_columns(
        distance=pl.when(place % 10 == 9).then(-1.0).otherwise("distance"),
        dep_delay=pl.when(place % 7 == 6).then(-600.0).otherwise(0.0),
    )
    encoded = bench.encoder(source).encode(fed.with_row_index("_row"))
    writer = BulkWriter(bench.kafka)
    writer.write(source, encoded.keys, encoded.values)
    writer.flush()
    return fed


def test_a_rule_rejects_or_warns_and_the_neighbours_go_on(
    bench: Bench, flights: pl.DataFrame
) -> None:
    """A rule of the input, which rejects, and one of the output, which warns."""
    source = bench.source("ruled-in", partitions=1)
    product = bench.product("ruled", source)
    _with_rules(bench, product, {"name": "early", "check": EARLY, "severity": "warn"})
    fed = _sent(bench, source, flights)
    sound = fed.filter(pl.col("distance") > 0)
    with bench.run(product, until_end=False) as run:
        until(lambda: bench.has_read(product, source), 30, "everything is read")
        until(lambda: run.metric("headwater_rule_violations_total") > 0, 10, "it is counted")
        counted = run.metric("headwater_rule_violations_total")
        said = [json.loads(line) for line in run.errors().splitlines() if "rules.broken" in line]
    warned = sound.filter(pl.col("dep_delay") < -15).height
    assert counted == (fed.height - sound.height) + warned
    assert 1 <= len(said) <= 5
    assert {(each["rule"], each["contract"], each["topic"]) for each in said} == {
        ("early", product, source)
    }
    assert said[0]["offset"] == 6
    letters = bench.records(f"{product}.dead-letters")
    assert len(letters) == 20
    for letter in letters:
        headers = dict(letter.headers)
        assert headers[PREFIX + "code"] == b"CONTRACT_VIOLATION"
        assert headers[PREFIX + "message"] == b"the rule distance (distance > 0) is broken"
    found = bench.visible(product).sort("_offset")
    assert found["flight_id"].to_list() == sound["flight_id"].to_list()


def test_a_rule_that_stops_leaves_nothing_behind(bench: Bench, flights: pl.DataFrame) -> None:
    """Exit 65 with rule and place, again after a restart; as a warning it lets everything pass."""
    source = bench.source("stopping-in", partitions=1)
    product = bench.product("stopping", source)
    stop = {"name": "early", "check": EARLY, "severity": "stop"}
    _with_rules(bench, product, stop)
    fed = _sent(bench, source, flights)
    for _ in range(2):
        with bench.run(product) as run:
            assert run.exit_code() == 65
            assert f"RULE_BROKEN: {source}[0]@6 breaks the rule early ({EARLY})" in run.errors()
            assert "Traceback" not in run.errors()
    assert bench.visible(product).height == 0
    assert bench.records(f"{product}.dead-letters") == []
    _with_rules(bench, product, {**stop, "severity": "warn"})
    with bench.run(product) as run:
        assert run.exit_code() == 0
        told = json.loads(run.output())["rules"]
    assert [(each["topic"], each["rule"], each["severity"]) for each in told] == [
        (product, "early", "warn"),
        (source, "distance", "reject"),
    ]
    assert [each["records"] for each in told] == [
        fed.filter(pl.col("dep_delay") < -15, pl.col("distance") > 0).height,
        20,
    ]
    assert bench.visible(product).height == fed.filter(pl.col("distance") > 0).height
