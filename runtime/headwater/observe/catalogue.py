"""Every metric there is: name, kind, labels, help. `docs/metrics.md` is made from this list."""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

PRODUCT: Final = "product"
"""The first label of every metric: one process may be scraped beside many others."""

# Seconds. From a small columnar batch (1 ms) to the point where the broker would evict us (60 s).
DURATION_BUCKETS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `labels` come after `product`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


# Counted when a transaction commits, so that a rewind counts nothing twice.
RECORDS_IN: Final = Metric(
    "headwater_records_in_total",
    "counter",
    "Input records of committed transactions, quarantined ones included.",
    ("topic",),
)
# The same, by the topic written to; dead letters are counted below.
RECORDS_OUT: Final = Metric(
    "headwater_records_out_total",
    "counter",
    "Output records of committed transactions.",
    ("topic",),
)
# Every code exists from the start at zero, so that the first bad record is a rise.
RECORDS_QUARANTINED: Final = Metric(
    "headwater_records_quarantined_total",
    "counter",
    "Input records that went to dead letters, by error code.",
    ("code",),
)
# Nothing is lost silently: what is passed over on purpose is counted.
RECORDS_SKIPPED: Final = Metric(
    "headwater_records_skipped_total",
    "counter",
    "Input records passed over: tombstones of a compacted topic, types of events nobody asked for.",
    ("topic",),
)
RECORDS_LATE: Final = Metric(
    "headwater_late_records_total",
    "counter",
    "Rows that a step dropped because every window they belong to had closed; the step is "
    "<output>.<step>.",
    ("step",),
)
RECORDS_DUPLICATE: Final = Metric(
    "headwater_duplicate_records_total",
    "counter",
    "Rows that a step dropped because they had come already; the step is <output>.<step>.",
    ("step",),
)
RECORDS_UNORDERED: Final = Metric(
    "headwater_unordered_records_total",
    "counter",
    "Rows that a step dropped because the column that orders them is null; the step is "
    "<output>.<step>.",
    ("step",),
)
# Every rule exists from the start at zero. One that stops the product is not counted on the way
# out: nobody would read it, the metrics end with the process.
RULE_VIOLATIONS: Final = Metric(
    "headwater_rule_violations_total",
    "counter",
    "Input records of committed transactions that broke a rule of an input's or output's contract; "
    "0 for severity stop, which commits nothing: exit code 65 and the error tell.",
    ("topic", "rule", "severity"),
)
# CPU-bound: what the product's own steps cost shows here.
BATCH_DURATION: Final = Metric(
    "headwater_batch_duration_seconds",
    "histogram",
    "Time to decode, run and encode one batch.",
    ("topic",),
)
# The commit interval plus what the broker needs.
TRANSACTION_DURATION: Final = Metric(
    "headwater_transaction_duration_seconds",
    "histogram",
    "Time from opening a transaction to its end.",
)
# Aborts are harmless one by one; a rate of them is a broker or a network in trouble.
TRANSACTIONS: Final = Metric(
    "headwater_transactions_total",
    "counter",
    "Transactions by outcome: committed, aborted, recycled.",
    ("outcome",),
)
# Against the read_committed end, so an open transaction upstream is not our lag.
LAG_RECORDS: Final = Metric(
    "headwater_lag_records",
    "gauge",
    "Offsets between the position and the read_committed end.",
    ("topic", "partition"),
)
# Worked out when scraped: it grows while the loop is stuck.
LAG_SECONDS: Final = Metric(
    "headwater_lag_seconds",
    "gauge",
    "Time since the last processed record was published; 0 when nothing is left to read.",
    ("topic", "partition"),
)
# Worked out when scraped; absent before the first commit.
LAST_COMMIT_AGE: Final = Metric(
    "headwater_last_commit_age_seconds", "gauge", "Time since the last committed transaction."
)
# Rises with every rebalance this member takes part in.
REBALANCES: Final = Metric(
    "headwater_rebalances_total", "counter", "Assignments received from the group."
)
# Above zero means two processes with one id: the process exits with 75 right after.
FENCED: Final = Metric(
    "headwater_fenced_total", "counter", "Times another process took over this process's id."
)
# 1 while the loop waits; /readyz says for what.
WAITING: Final = Metric(
    "headwater_waiting",
    "gauge",
    "1 while the loop waits for the broker, the registry or a disk, else 0.",
)
# Of the store being restored; 0 as soon as records are processed.
RESTORE_LEFT: Final = Metric(
    "headwater_restore_records_left",
    "gauge",
    "Changelog records of a step's state still to be read before records are processed.",
    ("output", "step"),
)
# As the local store estimates it: a key that was written twice may count twice for a while.
STATE_KEYS: Final = Metric(
    "headwater_state_keys",
    "gauge",
    "Keys in the state of a step, as far as this process holds it; an estimate.",
    ("output", "step"),
)
STATE_DISK_BYTES: Final = Metric(
    "headwater_state_disk_bytes",
    "gauge",
    "Bytes that the local state of a step takes on disk.",
    ("output", "step"),
)
# Beside it RocksDB's own memory, which is bounded for the process.
STATE_CACHE_BYTES: Final = Metric(
    "headwater_state_cache_bytes",
    "gauge",
    "Bytes of memory that cached entries of the state of a step take.",
    ("output", "step"),
)
# A failure costs nothing but time at a later restore; the log says why.
STATE_CHECKPOINTS: Final = Metric(
    "headwater_state_checkpoints_total",
    "counter",
    "Checkpoints of the state of a step by outcome: written, failed.",
    ("output", "step", "outcome"),
)
# As of the last commit; 0 from the start on. Alert on it before the product stops.
BAD_RECORDS_LIMIT_USED: Final = Metric(
    "headwater_bad_records_limit_used",
    "gauge",
    "How much of the limit on bad records is used up, in all (code total) and by code; 1 stops.",
    ("code",),
)
# Of the partitions held, as of the last batch; only where a product keeps the order of its letters.
PARKED_KEYS: Final = Metric(
    "headwater_parked_keys",
    "gauge",
    "Keys of which a record was set aside, whose later records wait for its replay.",
    ("topic",),
)
PARKED_LETTERS: Final = Metric(
    "headwater_parked_letters", "gauge", "Open dead letters of parked keys.", ("topic",)
)
# Worked out when scraped; no series while every partition goes on.
PARTITION_HALTED: Final = Metric(
    "headwater_partition_halted",
    "gauge",
    "1 for each partition that stands still because what follows cannot be read; code says why.",
    ("topic", "partition", "code"),
)
# Of tables: broadcast ones whole, of the others the partitions of this worker's tasks.
TABLE_KEYS: Final = Metric(
    "headwater_table_keys", "gauge", "Keys that are held of a table.", ("topic",)
)
# Grows without end of a versioned one, as its log does: some 220 MB of memory a million.
TABLE_ROWS: Final = Metric(
    "headwater_table_rows",
    "gauge",
    "Rows that are held in memory of a table; of a versioned one, of all times.",
    ("topic",),
)
# Above zero only at start: no event is processed before.
TABLE_RECORDS_LEFT: Final = Metric(
    "headwater_table_records_left",
    "gauge",
    "Offsets of a table still to read up to its end as of the start or the assignment.",
    ("topic",),
)
# There is no dead letter of them: the log that holds them is compacted, and stays.
TABLE_RECORDS_REFUSED: Final = Metric(
    "headwater_table_records_refused_total",
    "counter",
    "Records of a table that were refused; the rows of their keys stayed as they were.",
    ("topic", "code"),
)
# Of the newest version of the table, here and below; served by `headwater snapshot --every`.
SNAPSHOT_ROWS: Final = Metric(
    "headwater_snapshot_rows", "gauge", "Rows in the newest snapshot.", ("topic",)
)
SNAPSHOT_FILES: Final = Metric(
    "headwater_snapshot_files", "gauge", "Data files of the newest snapshot.", ("topic",)
)
# What older versions keep in the storage comes on top.
SNAPSHOT_BYTES: Final = Metric(
    "headwater_snapshot_bytes", "gauge", "Bytes of these files in the storage.", ("topic",)
)
# Worked out when scraped; a log without new events has a fresh cut too.
SNAPSHOT_CUT_AGE: Final = Metric(
    "headwater_snapshot_cut_age_seconds", "gauge", "Time since the last cut was taken.", ("topic",)
)
# One that nears the interval is too long for it.
SNAPSHOT_DURATION: Final = Metric(
    "headwater_snapshot_duration_seconds",
    "gauge",
    "How long the last cut took that committed something; absent before one did.",
    ("topic",),
)
# Every 20 versions or once a day, and since the start of the process; absent before the first time.
SNAPSHOT_MERGED: Final = Metric(
    "headwater_snapshot_merged_files_total",
    "counter",
    "Small files of the snapshot that upkeep merged into larger ones.",
    ("topic",),
)
SNAPSHOT_REMOVED: Final = Metric(
    "headwater_snapshot_removed_bytes_total",
    "counter",
    "Bytes of the files that upkeep removed: no version that is kept had them.",
    ("topic",),
)
# Cuts go on meanwhile, and each turn tries again: files and bytes only grow.
SNAPSHOT_UPKEEP_FAILED: Final = Metric(
    "headwater_snapshot_upkeep_failures_total",
    "counter",
    "Times that upkeep of the snapshot failed, by the code of the error.",
    ("topic", "code"),
)
# Of mode "daily"; the greater of both is where the open days begin.
SNAPSHOT_DAYS_CLOSED: Final = Metric(
    "headwater_snapshot_days_closed_timestamp_seconds",
    "gauge",
    "End of the last day that was closed as complete, and of the last assumed one (an input "
    "partition was idle), in seconds since 1970-01-01 UTC; absent before there is one.",
    ("topic", "state"),
)
# Counted before the cut, so that each letter's record lies below it. A record is set aside for all
# outputs or none, so there is no topic to tell it by: the sum over topics would count it twice.
SNAPSHOT_OPEN_LETTERS: Final = Metric(
    "headwater_snapshot_open_letters",
    "gauge",
    "Open dead letters from before the last cut: input records of which the snapshots lack the "
    "rows.",
)
# Worked out when scraped; absent before the first check.
SNAPSHOT_CHECK_AGE: Final = Metric(
    "headwater_snapshot_check_age_seconds",
    "gauge",
    "Time since the snapshot was last compared with its log (`--verify-every`).",
    ("topic",),
)
SNAPSHOT_CHECK_OUTCOME: Final = Metric(
    "headwater_snapshot_check_outcome",
    "gauge",
    "1 for what the last comparison found: equal, different or unverifiable, else 0.",
    ("topic", "outcome"),
)
# librdkafka's own statistics, once per statistics.interval.ms.
CLIENT_QUEUED_MESSAGES: Final = Metric(
    "headwater_client_queued_messages",
    "gauge",
    "Messages in the client's queues: to send for a producer, fetched for a consumer.",
    ("client",),
)
CLIENT_QUEUED_BYTES: Final = Metric(
    "headwater_client_queued_bytes",
    "gauge",
    "Bytes in the client's queues: to send for a producer, fetched for a consumer.",
    ("client",),
)
# Monotonic within one client; a recycled client begins at zero again.
CLIENT_SENT_BYTES: Final = Metric(
    "headwater_client_sent_bytes", "gauge", "Bytes this client has sent to brokers.", ("client",)
)
CLIENT_RECEIVED_BYTES: Final = Metric(
    "headwater_client_received_bytes",
    "gauge",
    "Bytes this client has received from brokers.",
    ("client",),
)
# The slowest broker of the client is what a transaction waits for.
CLIENT_ROUND_TRIP: Final = Metric(
    "headwater_client_round_trip_seconds",
    "gauge",
    "99th percentile of the round trip to the slowest broker in the last window.",
    ("client",),
)
CLIENT_REQUEST_TIMEOUTS: Final = Metric(
    "headwater_client_request_timeouts",
    "gauge",
    "Requests of this client that timed out, over all brokers.",
    ("client",),
)

CATALOGUE: Final = (
    RECORDS_IN,
    RECORDS_OUT,
    RECORDS_QUARANTINED,
    RECORDS_SKIPPED,
    RECORDS_LATE,
    RECORDS_DUPLICATE,
    RECORDS_UNORDERED,
    RULE_VIOLATIONS,
    BATCH_DURATION,
    TRANSACTION_DURATION,
    TRANSACTIONS,
    LAG_RECORDS,
    LAG_SECONDS,
    LAST_COMMIT_AGE,
    REBALANCES,
    FENCED,
    WAITING,
    RESTORE_LEFT,
    STATE_KEYS,
    STATE_DISK_BYTES,
    STATE_CACHE_BYTES,
    STATE_CHECKPOINTS,
    BAD_RECORDS_LIMIT_USED,
    PARKED_KEYS,
    PARKED_LETTERS,
    PARTITION_HALTED,
    TABLE_KEYS,
    TABLE_ROWS,
    TABLE_RECORDS_LEFT,
    TABLE_RECORDS_REFUSED,
    SNAPSHOT_ROWS,
    SNAPSHOT_FILES,
    SNAPSHOT_BYTES,
    SNAPSHOT_CUT_AGE,
    SNAPSHOT_DURATION,
    SNAPSHOT_MERGED,
    SNAPSHOT_REMOVED,
    SNAPSHOT_UPKEEP_FAILED,
    SNAPSHOT_DAYS_CLOSED,
    SNAPSHOT_OPEN_LETTERS,
    SNAPSHOT_CHECK_AGE,
    SNAPSHOT_CHECK_OUTCOME,
    CLIENT_QUEUED_MESSAGES,
    CLIENT_QUEUED_BYTES,
    CLIENT_SENT_BYTES,
    CLIENT_RECEIVED_BYTES,
    CLIENT_ROUND_TRIP,
    CLIENT_REQUEST_TIMEOUTS,
)
