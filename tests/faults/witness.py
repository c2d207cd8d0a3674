"""Who checks a product that counts, event by event, as far as it is committed."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import polars as pl
from tests.faults.counted import KEYS, LATENESS_MS, PARTITIONS, WINDOW_MS
from tests.faults.harness import START_S, Bench, until

from headwater import aggregates
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.registry import SchemaRegistry
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.contract import Decoder, StateRows
from headwater.contract.repartition import LINEAGE
from headwater.flow.aggregates import Aggregation
from headwater.model import Partition, Positions

AGGREGATION: Final = Aggregation(
    {
        "seen": aggregates.count(),
        "total": aggregates.sum("n"),
        "least": aggregates.min("n"),
        "most": aggregates.max("n"),
    },
    {"n": pl.Int64()},
)
WINDOWS: Final = {"step": "window", "size_ms": 10_000, "every_ms": 10_000, "emit": "on_close"}
MOVED: Final = StateRows(
    {
        "id": pl.String(),
        "label": pl.String(),
        "at": pl.Datetime("ms", "UTC"),
        "n": pl.Int64(),
        **LINEAGE,
    }
)
Row = tuple[Any, ...]
Count = tuple[int, int, int, int]
"""How many, their sum, the least and the most of them."""


class Moved(NamedTuple):
    """A record of a repartition topic; times are milliseconds. One without an offset is no row."""

    label: str
    n: int
    source: int
    watermark: int | None
    time: int
    partition: int
    offset: int | None


class Log:
    """The committed records of a topic, read on from where they were read to."""

    def __init__(self, bench: Bench, topic: str) -> None:
        self._bench = bench
        self.topic = topic
        self._ends: dict[Partition, int] = {}
        self.keys: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.values: list[list[bytes | None]] = [[] for _ in range(PARTITIONS)]
        self.offsets: list[list[int]] = [[] for _ in range(PARTITIONS)]
        self._rows: list[list[Moved]] = [[] for _ in range(PARTITIONS)]

    def follow(self) -> None:
        """Read what was committed meanwhile."""
        ends = self._bench.topics.ends(self.topic)
        ranges = {p: (self._ends.get(p, 0), end) for p, end in ends.items()}
        with closing(KafkaLogReader(self._bench.kafka)) as reader:
            for records in reader.read(ranges, max_records=20_000):
                task = records.partitions()[0]
                self.keys[task].extend(key or b"" for key in records.keys())  # noqa: SIM118 - records are no dict
                self.values[task].extend(records.values)
                self.offsets[task].extend(records.offsets())
        self._ends = dict(ends)

    def rows(self) -> list[list[Moved]]:
        """The records by task, where it is a repartition topic."""
        for task, rows in enumerate(self._rows):
            values = [value or b"" for value in self.values[task][len(rows) :]]
            frame = MOVED.decode(values).select("label", "n", *LINEAGE)
            rows.extend(map(Moved._make, frame.rows()))
        return self._rows

    def fold(self, task: int, end: int | None = None) -> dict[bytes, bytes]:
        """The last value of each key, below an offset."""
        below = None if end is None else bisect_left(self.offsets[task], end)
        found = dict(zip(self.keys[task][:below], self.values[task][:below], strict=True))
        return {key: value for key, value in found.items() if value is not None}


@dataclass
class Expected:
    """What must come of the rows of one task, computed one event at a time."""

    so_far: dict[str, Count] = field(default_factory=dict)
    open: dict[int, dict[str, Count]] = field(default_factory=dict)
    outputs: list[Row] = field(default_factory=list)
    closed: list[Row] = field(default_factory=list)
    late: int = 0
    _marks: dict[int, int] = field(default_factory=dict)

    def count(self, moved: Moved) -> None:
        """A record on its way to the groups so far."""
        if moved.offset is not None:
            _count(self.so_far, moved)
            self.outputs.append((moved.label, *self.so_far[moved.label]))

    def collect(self, moved: Moved) -> None:
        """A record on its way to the windows."""
        if moved.watermark is not None:
            last = self._marks.get(moved.source, moved.watermark)
            assert moved.watermark >= last, "a watermark went back"
            self._marks[moved.source] = moved.watermark
        is_known = len(self._marks) == PARTITIONS
        limit = min(self._marks.values()) - LATENESS_MS if is_known else 0
        if moved.offset is not None:
            start = moved.time - moved.time % WINDOW_MS
            if start + WINDOW_MS <= limit:
                self.late += 1
            else:
                _count(self.open.setdefault(start, {}), moved)
        for start in sorted(each for each in self.open if each + WINDOW_MS <= limit):
            for label, counted in sorted(self.open.pop(start).items()):
                self.closed.append((label, start, start + WINDOW_MS, *counted))

    def windows(self) -> dict[Row, Count]:
        """The windows that are open, by start and label."""
        return {(start, label): n for start, held in self.open.items() for label, n in held.items()}


def _count(held: dict[str, Count], moved: Moved) -> None:
    n = moved.n
    seen, total, least, most = held.get(moved.label, (0, 0, n, n))
    held[moved.label] = (seen + 1, total + n, min(least, n), max(most, n))


@dataclass(frozen=True)
class Way:
    """From a repartition topic to an output, with the state between them."""

    moved: Log
    changelog: Log
    output: Log
    keys: StateRows
    rows: StateRows
    columns: Sequence[str]
    folder: str


class Witness:
    """Checks a product after each kill, as far as it is committed then. Reads every log once.

    `state` is the directory of the local stores that are looked at.
    """

    def __init__(self, bench: Bench, product: str, source: str) -> None:
        self._bench, self._product, self._source = bench, product, source
        self.state = bench.folder / ".headwater/state"
        self.expected = [Expected() for _ in range(PARTITIONS)]
        label = {"label": pl.String()}
        results = ["seen", "total", "least", "most"]
        self._so_far = self._way(
            product, "agg-1", _stored(label, {"step": "agg"}), ["label", *results]
        )
        bounds = ["window_start", "window_end"]
        self._windows = self._way(
            f"{product}.windows",
            "window-1",
            _stored({"window_start": pl.Int64(), **label}, WINDOWS),
            ["label", *bounds, *results],
        )
        self._taken = {id(way): [0] * PARTITIONS for way in (self._so_far, self._windows)}
        self._told = {id(way): [0] * PARTITIONS for way in (self._so_far, self._windows)}

    def _way(
        self, output: str, step: str, stored: tuple[StateRows, StateRows], columns: Sequence[str]
    ) -> Way:
        return Way(
            Log(self._bench, f"{output}.rekey-1.repartition"),
            Log(self._bench, f"{output}.{step}.changelog"),
            Log(self._bench, output),
            *stored,
            columns,
            f"{output}/{step}",
        )

    def check(self) -> int:
        """Rows moved, outputs, changelogs and local stores; the processes have ended.

        How many outputs of one kind there are at most.
        """
        positions = self._bench.topics.group_offsets(self._product, self._source)
        for way in (self._so_far, self._windows):
            for log in (way.moved, way.changelog, way.output):
                self._follow(log)
            self._check_moved(way, positions)
            self._expect(way)
            self._check_outputs(way)
            self._check_state(way)
        return max(map(sum, self._told.values()))

    def check_end(self) -> None:
        """And everything was read, and is what was fed, and in the local stores."""
        self.check()
        fed = self._bench.visible(self._source)
        for way in (self._so_far, self._windows):
            assert self._bench.has_read(self._product, way.moved.topic)
            values = [value or b"" for each in way.moved.values for value in each]
            frame = MOVED.decode(values).filter(pl.col("_offset").is_not_null())
            columns = ["_partition", "_offset", "id", "label", "at", "n"]
            assert frame.select(columns).sort(pl.all()).equals(fed.select(columns).sort(pl.all()))
            stored = {task: entries for task, (_, entries) in self._local(way).items()}
            assert stored == {task: way.changelog.fold(task) for task in range(PARTITIONS)}
        assert self._bench.has_read(self._product, self._source)
        assert sum(each.late for each in self.expected) > 0

    def _follow(self, log: Log) -> None:
        until(lambda: self._bench.is_settled(log.topic), START_S, f"{log.topic} is settled")
        log.follow()

    def _check_moved(self, way: Way, positions: Positions) -> None:
        """Each record that was read is there once, and the order of a partition is kept."""
        places: dict[int, list[int]] = {task: [] for task in range(PARTITIONS)}
        tasks: dict[str, int] = {}
        for task, moved in enumerate(way.moved.rows()):
            lasts: dict[int, int] = {}
            for each in moved:
                if each.offset is not None:
                    assert each.offset > lasts.get(each.partition, -1), "rows lost their order"
                    lasts[each.partition] = each.offset
                    places[each.partition].append(each.offset)
                    assert tasks.setdefault(each.label, task) == task
        for index, offsets in places.items():
            position = positions.get(Partition(self._source, index), 0)
            assert sorted(offsets) == list(range(position)), f"rows of partition {index}"

    def _expect(self, way: Way) -> None:
        """Go on to the positions that are committed on the repartition topic."""
        positions = self._bench.topics.group_offsets(self._product, way.moved.topic)
        taken, moved = self._taken[id(way)], way.moved.rows()
        for task, expected in enumerate(self.expected):
            position = positions.get(Partition(way.moved.topic, task), 0)
            end = bisect_left(way.moved.offsets[task], position)
            take = expected.count if way is self._so_far else expected.collect
            for each in moved[task][taken[task] : end]:
                take(each)
            taken[task] = max(taken[task], end)

    def _check_outputs(self, way: Way) -> None:
        told = self._told[id(way)]
        with closing(SchemaRegistry({"url": self._bench.addresses.registry})) as registry:
            decoder = Decoder(self._bench.contract(way.output.topic), registry.schema)
            for task, expected in enumerate(self.expected):
                wanted = expected.outputs if way is self._so_far else expected.closed
                frame = decoder.decode(way.output.values[task][told[task] :]).frame
                found = (
                    frame.select(way.columns)
                    .with_columns(pl.col(pl.Datetime).dt.epoch("ms"))
                    .rows()
                )
                for place, (one, other) in enumerate(
                    zip(found, wanted[told[task] :], strict=False)
                ):
                    assert one == other, f"output {told[task] + place} of {task}"
                told[task] += len(found)
                assert told[task] == len(wanted), f"{way.output.topic}, task {task}"

    def _check_state(self, way: Way) -> None:
        for task, expected in enumerate(self.expected):
            fold = way.changelog.fold(task)
            found = dict(
                zip(_rows(way.keys, list(fold)), _counts(way.rows, [*fold.values()]), strict=True)
            )
            if way is self._so_far:
                assert found == {(label,): n for label, n in expected.so_far.items()}
            else:
                assert found == expected.windows()
        for task, (mark, stored) in self._local(way).items():
            assert stored == way.changelog.fold(task, mark), f"the store of task {task}"

    def _local(self, way: Way) -> dict[int, tuple[int, dict[bytes, bytes]]]:
        """The mark and the entries of the local stores that something vouches for."""
        folder = self.state / way.folder
        stores, found = RocksDbStores(folder, RocksDbMemory(8 << 20)), {}
        for task in range(PARTITIONS):
            if (folder / str(task)).exists():
                with closing(stores.open(task)) as store:
                    if (mark := store.mark()) is not None:
                        entries = dict(zip(*store.scan(b"", 100 * KEYS), strict=True))
                        found[task] = mark.changelog_offset, entries
        return found


def _rows(rows: StateRows, values: Sequence[bytes]) -> list[Row]:
    return rows.decode(values).rows()


def _counts(rows: StateRows, values: Sequence[bytes]) -> list[Row]:
    return AGGREGATION.result(rows.decode(values)).select("seen", "total", "least", "most").rows()


def _stored(
    key: Mapping[str, pl.DataType], meaning: Mapping[str, object]
) -> tuple[StateRows, StateRows]:
    """Keys and rows as a step stores them."""
    return StateRows(key), StateRows(AGGREGATION.state, keys=key, meaning=meaning)
