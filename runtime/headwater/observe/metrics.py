"""The instruments of one process. Counts per batch, never per record; one registry, passed on."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headwater.clock import SYSTEM, Clock
from headwater.model import (
    CheckpointStanding,
    Code,
    Halt,
    Partition,
    Positions,
    RestoreStanding,
    SnapshotStanding,
    StoreStanding,
    TableStanding,
)
from headwater.observe import catalogue
from headwater.observe.catalogue import DURATION_BUCKETS_S, PRODUCT, Metric
from headwater.observe.client_statistics import ClientStatistics, read_statistics

Outcome = Literal["equal", "different", "unverifiable"]
"""What a comparison of a snapshot with its log found."""
OUTCOMES: Final[Sequence[Outcome]] = ("equal", "different", "unverifiable")

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series


class Metrics(Collector):
    """Every metric of the catalogue for one product, in a registry of its own.

    Written on the loop's thread, scraped on another: ages and lags are worked out when scraped,
    so that they grow while the loop is stuck.
    """

    def __init__(self, product: str, *, clock: Clock = SYSTEM) -> None:
        self.registry = CollectorRegistry()
        self._product = product
        self._clock = clock
        self._positions: Positions = {}
        self._published_ms: Mapping[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._began_ms = clock.wall_ms()
        self._caught_up_ms: dict[Partition, int] = {}
        self._committed_at_s: float | None = None
        self._halts: tuple[Halt, ...] = ()
        self._limits_used: Mapping[str, float] = {"total": 0.0}
        self._cut_at_ms: dict[str, int] = {}
        self._checked_at_ms: dict[str, int] = {}
        self._clients: dict[str, ClientStatistics] = {}
        self._make_instruments()
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def _make_instruments(self) -> None:
        self._records_in = self._counter(catalogue.RECORDS_IN)
        self._records_out = self._counter(catalogue.RECORDS_OUT)
        self._quarantined = self._counter(catalogue.RECORDS_QUARANTINED)
        self._skipped = self._counter(catalogue.RECORDS_SKIPPED)
        self._late = self._counter(catalogue.RECORDS_LATE)
        self._duplicates = self._counter(catalogue.RECORDS_DUPLICATE)
        self._unordered = self._counter(catalogue.RECORDS_UNORDERED)
        self._violations = self._counter(catalogue.RULE_VIOLATIONS)
        self._transactions = self._counter(catalogue.TRANSACTIONS)
        self._batch_duration = self._histogram(catalogue.BATCH_DURATION)
        duration = self._histogram(catalogue.TRANSACTION_DURATION)
        self._transaction_duration = duration.labels(self._product)
        self._rebalances = self._counter(catalogue.REBALANCES).labels(self._product)
        self._fenced = self._counter(catalogue.FENCED).labels(self._product)
        self._waiting = self._gauge(catalogue.WAITING).labels(self._product)
        self._parked_keys = self._gauge(catalogue.PARKED_KEYS)
        self._parked_letters = self._gauge(catalogue.PARKED_LETTERS)
        self._restore_left = self._gauge(catalogue.RESTORE_LEFT)
        self._state_keys = self._gauge(catalogue.STATE_KEYS)
        self._state_disk = self._gauge(catalogue.STATE_DISK_BYTES)
        self._state_cache = self._gauge(catalogue.STATE_CACHE_BYTES)
        self._checkpoints = self._counter(catalogue.STATE_CHECKPOINTS)
        self._table_keys = self._gauge(catalogue.TABLE_KEYS)
        self._table_rows = self._gauge(catalogue.TABLE_ROWS)
        self._table_left = self._gauge(catalogue.TABLE_RECORDS_LEFT)
        self._table_refused = self._counter(catalogue.TABLE_RECORDS_REFUSED)
        self._make_snapshot_instruments()
        for code in Code:
            self._quarantined.labels(self._product, code)

    def _make_snapshot_instruments(self) -> None:
        self._snapshot_rows = self._gauge(catalogue.SNAPSHOT_ROWS)
        self._snapshot_files = self._gauge(catalogue.SNAPSHOT_FILES)
        self._snapshot_bytes = self._gauge(catalogue.SNAPSHOT_BYTES)
        self._snapshot_duration = self._gauge(catalogue.SNAPSHOT_DURATION)
        self._snapshot_merged = self._counter(catalogue.SNAPSHOT_MERGED)
        self._snapshot_removed = self._counter(catalogue.SNAPSHOT_REMOVED)
        self._upkeep_failed = self._counter(catalogue.SNAPSHOT_UPKEEP_FAILED)
        self._snapshot_letters = self._gauge(catalogue.SNAPSHOT_OPEN_LETTERS)
        self._snapshot_days = self._gauge(catalogue.SNAPSHOT_DAYS_CLOSED)
        self._check_outcome = self._gauge(catalogue.SNAPSHOT_CHECK_OUTCOME)

    def _counter(self, metric: Metric) -> Counter:
        labels = (PRODUCT, *metric.labels)
        return Counter(metric.name, metric.help, labels, registry=self.registry)

    def _gauge(self, metric: Metric) -> Gauge:
        labels = (PRODUCT, *metric.labels)
        return Gauge(metric.name, metric.help, labels, registry=self.registry)

    def _histogram(self, metric: Metric) -> Histogram:
        labels = (PRODUCT, *metric.labels)
        return Histogram(
            metric.name, metric.help, labels, registry=self.registry, buckets=DURATION_BUCKETS_S
        )

    def batch(self, topic: str, seconds: float) -> None:
        """A batch of a topic took this long to decode, run and encode."""
        self._batch_duration.labels(self._product, topic).observe(seconds)

    def transaction(self, outcome: str, seconds: float) -> None:
        """A transaction ended as committed, aborted or recycled, this long after it was opened."""
        self._transactions.labels(self._product, outcome).inc()
        self._transaction_duration.observe(seconds)
        if outcome == "committed":
            self._committed_at_s = self._clock.monotonic()

    def counts(
        self, *, read: Mapping[str, int], written: Mapping[str, int], codes: Mapping[Code, int]
    ) -> None:
        """What a committed transaction read and wrote per topic, and quarantined per code."""
        for topic, records in read.items():
            self._records_in.labels(self._product, topic).inc(records)
        for topic, records in written.items():
            self._records_out.labels(self._product, topic).inc(records)
        for code, records in codes.items():
            self._quarantined.labels(self._product, code).inc(records)

    def skipped(self, records: Mapping[str, int]) -> None:
        """Records of a committed transaction that were read and not wanted, per topic."""
        for topic, count in records.items():
            self._skipped.labels(self._product, topic).inc(count)

    def late(self, rows: Mapping[str, int]) -> None:
        """Rows of a committed transaction that came late and were dropped, by `<output>.<step>`."""
        for step, count in rows.items():
            self._late.labels(self._product, step).inc(count)

    def duplicates(self, rows: Mapping[str, int]) -> None:
        """Rows of a committed transaction that had come already, by `<output>.<step>`."""
        for step, count in rows.items():
            self._duplicates.labels(self._product, step).inc(count)

    def unordered(self, rows: Mapping[str, int]) -> None:
        """Rows of a committed transaction with nothing to order them by, by `<output>.<step>`."""
        for step, count in rows.items():
            self._unordered.labels(self._product, step).inc(count)

    def rule(self, topic: str, rule: str, severity: str, records: int = 0) -> None:
        """So many records more broke a rule of a topic's contract; 0 makes the series exist."""
        self._violations.labels(self._product, topic, rule, severity).inc(records)

    def positions(self, positions: Positions, published_ms: Mapping[Partition, int]) -> None:
        """Where the loop stands, and when the last record of each partition was published.

        Both replace what was said before: a partition left out is no longer ours.
        """
        self._positions = positions
        self._published_ms = published_ms

    def ends(self, ends: Positions) -> None:
        """The read_committed end of some partitions, as of now."""
        self._ends.update(ends)

    def rebalanced(self) -> None:
        """An assignment came from the group."""
        self._rebalances.inc()

    def fenced(self) -> None:
        """Another process took over our id."""
        self._fenced.inc()

    def waiting(self, *, is_waiting: bool) -> None:
        """The loop waits for broker or registry, or goes on."""
        self._waiting.set(is_waiting)

    def restoring(self, standings: Sequence[RestoreStanding]) -> None:
        """How many changelog records of each store are still to be read."""
        for each in standings:
            self._restore_left.labels(self._product, each.output, each.step).set(each.left)

    def stores(self, standings: Sequence[StoreStanding]) -> None:
        """What is held of each store."""
        for each in standings:
            labels = (self._product, each.output, each.step)
            self._state_keys.labels(*labels).set(each.keys)
            self._state_disk.labels(*labels).set(each.disk_bytes)
            self._state_cache.labels(*labels).set(each.memory_bytes)

    def checkpointed(self, checkpoint: CheckpointStanding) -> None:
        """A checkpoint was written, or given up."""
        outcome = "failed" if checkpoint.failure else "written"
        labels = (self._product, checkpoint.output, checkpoint.step, outcome)
        self._checkpoints.labels(*labels).inc()

    def parked(self, topic: str, keys: int, letters: int) -> None:
        """So many keys of an input are parked, with so many open letters."""
        self._parked_keys.labels(self._product, topic).set(keys)
        self._parked_letters.labels(self._product, topic).set(letters)

    def tables(self, standings: Sequence[TableStanding]) -> None:
        """All tables as they are now."""
        for each in standings:
            self._table_keys.labels(self._product, each.topic).set(each.keys)
            self._table_rows.labels(self._product, each.topic).set(each.rows)
            self._table_left.labels(self._product, each.topic).set(each.left)

    def table_refused(self, topic: str, code: Code) -> None:
        """One more record of a table was refused."""
        self._table_refused.labels(self._product, topic, code).inc()

    def limits_used(self, used: Mapping[str, float]) -> None:
        """How much of each limit on bad records is used up."""
        self._limits_used = dict(used)

    def halted(self, halts: Sequence[Halt]) -> None:
        """All partitions that stand still now."""
        self._halts = tuple(halts)

    def snapshot(self, standing: SnapshotStanding) -> None:
        """The newest snapshot of a topic, and when its cut was taken."""
        labels = (self._product, standing.topic)
        self._snapshot_rows.labels(*labels).set(standing.rows)
        self._snapshot_files.labels(*labels).set(standing.files)
        self._snapshot_bytes.labels(*labels).set(standing.bytes)
        if standing.seconds is not None:
            self._snapshot_duration.labels(*labels).set(standing.seconds)
        self._cut_at_ms[standing.topic] = standing.cut_at_ms

    def snapshot_upkept(self, topic: str, merged_files: int, removed_bytes: int) -> None:
        """Upkeep of a topic's snapshot merged so many files and removed so much."""
        self._snapshot_merged.labels(self._product, topic).inc(merged_files)
        self._snapshot_removed.labels(self._product, topic).inc(removed_bytes)

    def snapshot_upkeep_failed(self, topic: str, code: str) -> None:
        """Upkeep of a topic's snapshot failed with an error of this code."""
        self._upkeep_failed.labels(self._product, topic, code).inc()

    def snapshot_days(self, topic: str, reached: Mapping[str, date]) -> None:
        """Behind which day, by their state, the days of a topic's snapshot are not closed so."""
        for state, day in reached.items():
            at = datetime.combine(day, time.min, UTC)
            self._snapshot_days.labels(self._product, topic, state).set(at.timestamp())

    def snapshot_letters(self, letters: int) -> None:
        """So many dead letters of the product were open before the last cut."""
        self._snapshot_letters.labels(self._product).set(letters)

    def snapshot_checked(self, topic: str, outcome: Outcome) -> None:
        """The snapshot of a topic was compared with its log just now."""
        for each in OUTCOMES:
            labels = (self._product, topic, each)
            self._check_outcome.labels(*labels).set(each == outcome)
        self._checked_at_ms[topic] = self._clock.wall_ms()

    def client_statistics(self, text: str) -> None:
        """Take in librdkafka's statistics (the JSON text handed to `stats_cb`).

        The ends they carry feed the lag. A text that is not such JSON raises ValueError.
        """
        statistics = read_statistics(text)
        self._clients[statistics.client] = statistics
        self.ends(statistics.ends)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What is worked out when scraped."""
        yield from self._lags()
        yield from self._ages()
        yield self._halted()
        yield self._limits()
        yield from self._client_gauges()

    def _family(self, metric: Metric) -> GaugeMetricFamily:
        return GaugeMetricFamily(metric.name, metric.help, labels=(PRODUCT, *metric.labels))

    def _lags(self) -> Iterator[GaugeMetricFamily]:
        records, seconds = map(self._family, (catalogue.LAG_RECORDS, catalogue.LAG_SECONDS))
        positions, published_ms, now_ms = self._positions, self._published_ms, self._clock.wall_ms()
        for partition, position in positions.items():
            if partition not in self._ends:
                continue
            labels = (self._product, partition.topic, str(partition.index))
            behind = max(0, self._ends[partition] - position)
            records.add_metric(labels, behind)
            if behind == 0:
                self._caught_up_ms[partition] = now_ms
            # unread records came after the last one read, and after nothing was unread
            since_ms = max(
                published_ms.get(partition, self._began_ms), self._caught_up_ms.get(partition, 0)
            )
            seconds.add_metric(labels, 0 if behind == 0 else max(0, now_ms - since_ms) / 1000)
        yield records
        yield seconds

    def _limits(self) -> GaugeMetricFamily:
        family = self._family(catalogue.BAD_RECORDS_LIMIT_USED)
        for code, used in self._limits_used.items():
            family.add_metric((self._product, code), used)
        return family

    def _halted(self) -> GaugeMetricFamily:
        family = self._family(catalogue.PARTITION_HALTED)
        for halt in self._halts:
            where = (halt.partition.topic, str(halt.partition.index))
            family.add_metric((self._product, *where, halt.code), 1)
        return family

    def _ages(self) -> Iterator[GaugeMetricFamily]:
        if self._committed_at_s is not None:
            age = self._family(catalogue.LAST_COMMIT_AGE)
            age.add_metric((self._product,), self._clock.monotonic() - self._committed_at_s)
            yield age
        yield self._since(catalogue.SNAPSHOT_CUT_AGE, self._cut_at_ms)
        yield self._since(catalogue.SNAPSHOT_CHECK_AGE, self._checked_at_ms)

    def _since(self, metric: Metric, at_ms: Mapping[str, int]) -> GaugeMetricFamily:
        """The seconds since then, by topic."""
        family, now_ms = self._family(metric), self._clock.wall_ms()
        for topic, then_ms in dict(at_ms).items():
            family.add_metric((self._product, topic), max(0, now_ms - then_ms) / 1000)
        return family

    def _client_gauges(self) -> Iterator[GaugeMetricFamily]:
        clients = list(self._clients.values())
        for metric in ClientStatistics.GAUGES:
            family = self._family(metric)
            for statistics in clients:
                family.add_metric((self._product, statistics.client), statistics.gauges[metric])
            yield family
