"""Metrics: the catalogue is all there is, ages grow by themselves, no payload becomes a label."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from headwater.clock import ManualClock
from headwater.model import Code, Partition, SnapshotStanding
from headwater.observe import CATALOGUE, Health, Metrics, ProcessMonitor
from headwater.observe.reference import markdown
from headwater.ports.monitor import Monitor

REPOSITORY = Path(__file__).parents[2]
INPUT = Partition("in", 0)
STATISTICS = json.dumps(
    {
        "type": "consumer",
        "msg_cnt": 0,
        "msg_size": 0,
        "tx_bytes": 10,
        "rx_bytes": 20,
        "brokers": {"b:1/1": {"rtt": {"p99": 2500}, "req_timeouts": 3}},
        "topics": {
            "in": {
                "partitions": {
                    "-1": {"ls_offset": -1001, "fetchq_cnt": 0, "fetchq_size": 0},
                    "0": {"ls_offset": 100, "fetchq_cnt": 5, "fetchq_size": 500},
                    "1": {"ls_offset": -1001, "fetchq_cnt": 0, "fetchq_size": 0},
                }
            }
        },
    }
)


@pytest.fixture
def clock() -> ManualClock:
    """A clock at 1,000 s."""
    return ManualClock(at_s=1000)


@pytest.fixture
def metrics(clock: ManualClock) -> Metrics:
    """The metrics of one product."""
    return Metrics("flights.late", clock=clock)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The sample of this name and labels."""
    return metrics.registry.get_sample_value(name, {"product": "flights.late", **labels})


def standing() -> SnapshotStanding:
    """A snapshot that was cut just now, at 1,000 s."""
    return SnapshotStanding("out", rows=8, files=2, bytes=4_096, cut_at_ms=1_000_000, seconds=0.5)


def used(metrics: Metrics) -> Metrics:
    """Metrics through which everything has happened once."""
    monitor: Monitor = ProcessMonitor(metrics, Health())  # the loop's port, by its shape
    monitor.alive()
    monitor.assigned(1)
    monitor.processed("in", 0.01)
    monitor.counted(read={"in": 10}, written={"out": 8}, codes={Code.BAD_MAGIC: 2})
    monitor.skipped({"in": 1})
    monitor.late({"out.window-1": 3})
    monitor.duplicates({"out.dedupe-1": 3})
    monitor.unordered({"out.latest-1": 3})
    monitor.ended("committed", 0.1)
    monitor.waiting("the broker")
    monitor.stands_at({INPUT: 90}, {INPUT: 990_000})
    metrics.client_statistics(STATISTICS)
    metrics.snapshot(standing())
    metrics.snapshot_upkept("out", 12, 4_096)
    metrics.snapshot_letters(2)
    metrics.snapshot_checked("out", "equal")
    metrics.fenced()
    return metrics


def test_everything_served_is_in_the_catalogue_and_all_of_it_is_served(metrics: Metrics) -> None:
    """Name, kind and help of each family are those of the catalogue."""
    served = {
        (family.name, family.type, family.documentation)
        for family in used(metrics).registry.collect()
        if not family.name.startswith("process_")
    }
    told = {(m.name.removesuffix("_total"), m.kind, m.help) for m in CATALOGUE}
    assert served == told


def test_every_metric_has_the_labels_of_the_catalogue(metrics: Metrics) -> None:
    """`product` first; histograms add their own `le`."""
    labels = {m.name.removesuffix("_total"): {"product", *m.labels} for m in CATALOGUE}
    for family in used(metrics).registry.collect():
        for sample in family.samples:
            if family.name in labels:
                assert set(sample.labels) - {"le"} == labels[family.name]


def test_a_committed_transaction_is_counted_by_topic_and_code(metrics: Metrics) -> None:
    """Counts add up over transactions."""
    for _ in range(2):
        metrics.counts(read={"in": 10}, written={"out": 8}, codes={Code.BAD_MAGIC: 2})
    assert value(metrics, "headwater_records_in_total", topic="in") == 20
    assert value(metrics, "headwater_records_out_total", topic="out") == 16
    assert value(metrics, "headwater_records_quarantined_total", code="BAD_MAGIC") == 4


def test_every_code_is_there_at_zero(metrics: Metrics) -> None:
    """The first bad record is a rise, not a new series that rate() cannot see."""
    for code in Code:
        assert value(metrics, "headwater_records_quarantined_total", code=code) == 0


def test_lag_is_the_distance_to_the_committed_end(metrics: Metrics, clock: ManualClock) -> None:
    """In records from librdkafka's ends, in seconds from the publish time, growing when stuck."""
    metrics.client_statistics(STATISTICS)
    metrics.positions({INPUT: 90}, {INPUT: 990_000})
    assert value(metrics, "headwater_lag_records", topic="in", partition="0") == 10
    assert value(metrics, "headwater_lag_seconds", topic="in", partition="0") == 10
    clock.advance(60)
    assert value(metrics, "headwater_lag_seconds", topic="in", partition="0") == 70


def test_a_product_stuck_before_its_first_record_lags(metrics: Metrics, clock: ManualClock) -> None:
    """Else no alert could fire."""
    metrics.ends({INPUT: 100})
    metrics.positions({INPUT: 0}, {})
    clock.advance(60)
    assert value(metrics, "headwater_lag_seconds", topic="in", partition="0") == 60


def test_a_record_after_a_quiet_day_is_not_a_day_late(metrics: Metrics, clock: ManualClock) -> None:
    """Nothing was unread before it came."""
    metrics.ends({INPUT: 100})
    metrics.positions({INPUT: 100}, {INPUT: 990_000})
    clock.advance(86_400)
    assert value(metrics, "headwater_lag_seconds", topic="in", partition="0") == 0
    metrics.ends({INPUT: 101})
    clock.advance(2)
    assert value(metrics, "headwater_lag_seconds", topic="in", partition="0") == 2


def test_a_product_at_the_end_has_no_lag(metrics: Metrics, clock: ManualClock) -> None:
    """An idle input is not late, and a position beyond an older end is no negative lag."""
    metrics.ends({INPUT: 100})
    metrics.positions({INPUT: 103}, {INPUT: 990_000})
    clock.advance(3600)
    assert value(metrics, "headwater_lag_records", topic="in", partition="0") == 0
    assert value(metrics, "headwater_lag_seconds", topic="in", partition="0") == 0


def test_a_partition_that_went_has_no_lag_here(metrics: Metrics) -> None:
    """Its new owner reports it."""
    metrics.ends({INPUT: 100})
    metrics.positions({INPUT: 90}, {})
    metrics.positions({}, {})
    assert value(metrics, "headwater_lag_records", topic="in", partition="0") is None


def test_the_age_of_the_last_commit_grows_until_the_next(
    metrics: Metrics, clock: ManualClock
) -> None:
    """Absent before the first commit; an abort does not count."""
    metrics.transaction("aborted", 0.1)
    assert value(metrics, "headwater_last_commit_age_seconds") is None
    metrics.transaction("committed", 0.1)
    clock.advance(30)
    assert value(metrics, "headwater_last_commit_age_seconds") == 30


def test_the_age_of_the_cut_grows_until_the_next(metrics: Metrics, clock: ManualClock) -> None:
    """Rows and age stand beside each other."""
    metrics.snapshot(standing())
    clock.advance(5)
    for name, expected in {"rows": 8, "files": 2, "bytes": 4_096, "cut_age_seconds": 5}.items():
        assert value(metrics, f"headwater_snapshot_{name}", topic="out") == expected
    assert value(metrics, "headwater_snapshot_duration_seconds", topic="out") == 0.5


def test_how_long_a_cut_took_stays_while_nothing_is_committed(metrics: Metrics) -> None:
    """A look that found nothing new has no duration worth an alert."""
    metrics.snapshot(replace(standing(), seconds=None))
    assert value(metrics, "headwater_snapshot_duration_seconds", topic="out") is None
    metrics.snapshot(standing())
    metrics.snapshot(replace(standing(), seconds=None))
    assert value(metrics, "headwater_snapshot_duration_seconds", topic="out") == 0.5


def test_what_upkeep_did_adds_up(metrics: Metrics) -> None:
    """Files that were merged, and bytes that are gone."""
    for _ in range(2):
        metrics.snapshot_upkept("out", 12, 4_096)
    assert value(metrics, "headwater_snapshot_merged_files_total", topic="out") == 24
    assert value(metrics, "headwater_snapshot_removed_bytes_total", topic="out") == 8_192


def test_the_last_check_has_one_outcome_and_an_age(metrics: Metrics, clock: ManualClock) -> None:
    """What it found before is 0 again."""
    name = "headwater_snapshot_check"
    assert value(metrics, f"{name}_age_seconds", topic="out") is None
    metrics.snapshot_checked("out", "different")
    metrics.snapshot_checked("out", "equal")
    clock.advance(7)
    assert value(metrics, f"{name}_age_seconds", topic="out") == 7
    assert value(metrics, f"{name}_outcome", topic="out", outcome="equal") == 1
    assert value(metrics, f"{name}_outcome", topic="out", outcome="different") == 0


def test_client_statistics_are_read_per_client(metrics: Metrics) -> None:
    """Queues, bytes, round trip in seconds and timeouts."""
    metrics.client_statistics(STATISTICS)
    for name, expected in {
        "queued_messages": 5,
        "queued_bytes": 500,
        "sent_bytes": 10,
        "received_bytes": 20,
        "round_trip_seconds": 0.0025,
        "request_timeouts": 3,
    }.items():
        assert value(metrics, f"headwater_client_{name}", client="consumer") == expected


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": "consumer"}', "null"])
def test_what_is_no_statistics_is_refused(metrics: Metrics, text: str) -> None:
    """Something else in its place is a defect, told as one error."""
    with pytest.raises(ValueError, match=r"statistics|Expecting"):
        metrics.client_statistics(text)


def test_two_products_do_not_share_a_registry() -> None:
    """Nothing is global: the second process-like object starts at zero."""
    one, two = Metrics("flights.late"), Metrics("flights.late")
    one.counts(read={"in": 1}, written={}, codes={})
    assert b'topic="in"' in generate_latest(one.registry)
    assert b'topic="in"' not in generate_latest(two.registry)


def test_the_page_of_metrics_is_the_catalogue() -> None:
    """docs/metrics.md is what `make docs` writes."""
    assert (REPOSITORY / "docs/metrics.md").read_text() == markdown()


def test_alerts_name_only_metrics_that_exist() -> None:
    """Each rule has an expression over the catalogue, a summary and a description."""
    rules = [
        rule
        for group in yaml.safe_load((REPOSITORY / "deploy/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    words = set(re.split(r"[\s(\[{]", " ".join(map(str, rules))))
    named = {word.strip("`'\",.;:)") for word in words if word.startswith("headwater_")}
    assert len(rules) == 9
    assert "headwater_snapshot_upkeep_failures_total" in named  # nothing else stops or shows it
    assert named <= {metric.name for metric in CATALOGUE}
    for rule in rules:
        assert rule["expr"]
        assert rule["for"]
        assert rule["annotations"].keys() == {"summary", "description"}
