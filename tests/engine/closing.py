"""A world whose product counts records by windows of event time and tells each when it closes."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl
from tests.engine.conftest import GROUP, INPUT, OUTPUT, EchoTask, Process, World
from tests.engine.disks import Disks

from headwater.contract import StateRows
from headwater.engine import Publication, Standing, StepStore, Stores, Watermarks, Work
from headwater.engine.selection import NoRecords
from headwater.model import Partition, Positions, Quarantine
from headwater.ports import Records, TopicSettings
from headwater.state import KeyedStore, StoreSettings

STEP: Final = "window-1"
CHANGELOG: Final = f"{OUTPUT}.{STEP}.changelog"
CLOSED, LATE = "out.closed", "out.late"
SIZE: Final = 10  # milliseconds of event time: a window
ROWS: Final = StateRows({"count": pl.Int64()})

Window = tuple[int, int]
"""A task and the start of a window."""


class WindowTask(EchoTask):
    """Publishes `<task>|<start>|<count>` of each window that closes, and late records apart."""

    def __init__(self, stores: Stores, idle_after_s: float | None) -> None:
        super().__init__()
        self._store = stores.held[0].store
        self.watermarks = Watermarks(idle_after_s)

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        assert self.watermarks is not None
        self._store.drop()
        self.watermarks.drop()
        work = super().process(records, guilty)
        (echoed,) = work.publications
        tasks = pl.Series(records.partitions(), dtype=pl.Int64)
        refused = {row for row, value in enumerate(records.values) if not is_sound(value)}
        times = [None if row in refused else time_of(v) for row, v in enumerate(records.values)]
        marks, reached = self.watermarks.observe(tasks, pl.Series(times, dtype=pl.Int64))
        late = []
        for row in echoed.rows:
            start = (times[row] or 0) // SIZE * SIZE
            if start + SIZE <= marks[row]:
                late.append(row)
            else:
                self._write(tasks[row], start, (self._count(tasks[row], start) or 0) + 1)
        values = [records.values[row] or b"" for row in late]
        apart = Publication(LATE, [None] * len(late), values, pl.Series(late, dtype=pl.UInt32))
        return replace(work, publications=[echoed, apart, self._closed(reached)])

    def move(self, standings: Mapping[int, Standing], at: Positions) -> Work:
        assert self.watermarks is not None
        self._store.drop()
        self.watermarks.drop()
        closed = self._closed(self.watermarks.move(standings))
        work = super().process(NoRecords(INPUT))
        return replace(work, publications=[closed], ends=at)

    def _closed(self, reached: Mapping[int, int]) -> Publication:
        values = []
        for task, mark in sorted(reached.items()):
            starts = range(0, mark - SIZE + 1, SIZE)
            places = _places(task, starts)
            counts = dict(zip(starts, self._store.read(*places)["count"], strict=True))
            due = {start: count for start, count in counts.items() if count is not None}
            self._store.delete(*_places(task, due))
            values += [b"%d|%d|%d" % (task, start, count) for start, count in due.items()]
        rows = pl.Series([0] * len(values), dtype=pl.UInt32)
        return Publication(CLOSED, [None] * len(values), values, rows)

    def _count(self, task: int, start: int) -> int | None:
        count: int | None = self._store.read(*_places(task, [start]))["count"].item()
        return count

    def _write(self, task: int, start: int, count: int) -> None:
        self._store.write(*_places(task, [start]), pl.DataFrame({"count": [count]}))


class WindowWorld(World):
    """Records have event times out of order; every instance has a disk."""

    idle_after_s: float | None = None

    def __init__(self) -> None:
        super().__init__()
        outputs, changelogs = [OUTPUT, CLOSED, LATE], {CHANGELOG: [INPUT]}
        self.start = replace(self.start, outputs=outputs, changelogs=changelogs)
        self.topics.create([TopicSettings(each, 1, "log") for each in (CLOSED, LATE)])
        self.topics.create([TopicSettings(CHANGELOG, 3, "table")])
        self.disks = Disks()

    def feed(self, *values: bytes) -> None:
        """Times go on by three and back by up to eighteen, without chance."""
        super().feed(
            *(
                b"%s@%d" % (value, 3 * (self._fed + place) + self._fed * place * 7 % 19)
                for place, value in enumerate(values, start=1)
            )
        )

    def stores(self, process: Process) -> Stores:
        settings = StoreSettings(self.topics.topic_id(CHANGELOG))
        store = KeyedStore(ROWS, self.disks.of(process), settings, clock=self.broker.clock)
        return Stores([StepStore(OUTPUT, STEP, INPUT, store)])

    def task(self, stores: Stores) -> EchoTask:
        return WindowTask(stores, self.idle_after_s)

    def check(self) -> None:
        """And each record is in one window, closed once or open, or it was late."""
        super().check()
        closed = Counter(self.closed())
        found = Counter(self.late()) + closed + self.open()
        assert found == Counter(window for window, _ in self._judged())
        if self.idle_after_s is None:
            self._check_exactly(closed)

    def _check_exactly(self, closed: Counter[Window]) -> None:
        """Without idleness all of it is a function of the recorded order."""
        assert Counter(self.late()) == Counter(
            window for window, is_late in self._judged() if is_late
        )
        marks = self._marks()
        assert all(start + SIZE <= marks[task] for task, start in closed)
        assert all(start + SIZE > marks[task] for task, start in self.open())

    def _judged(self) -> Iterator[tuple[Window, bool]]:
        """Each record that was counted: its window, and whether it is late."""
        marks: dict[int, int] = {}
        for task, value in self._read():
            time = time_of(value)
            marks[task] = max(marks.get(task, time), time)
            if not value.startswith(b"drop"):
                start = time // SIZE * SIZE
                yield (task, start), start + SIZE <= marks[task]

    def _marks(self) -> dict[int, int]:
        marks: dict[int, int] = {}
        for task, value in self._read():
            marks[task] = max(marks.get(task, time_of(value)), time_of(value))
        return marks

    def _read(self) -> Iterator[tuple[int, bytes]]:
        positions = self.positions()
        for record in self.broker.visible(INPUT):
            value = record.value or b""
            if record.offset < positions.get(record.partition, 0) and is_sound(value):
                yield record.partition.index, value

    def closed(self) -> Counter[Window]:
        """How many records each window that closed had."""
        told = [tuple(map(int, (r.value or b"").split(b"|"))) for r in self.committed(CLOSED)]
        assert len({(task, start) for task, start, _ in told}) == len(told), "closed twice"
        return Counter({(task, start): count for task, start, count in told})

    def late(self) -> list[Window]:
        """The windows of the records that were late."""
        tasks = {record.value: record.partition.index for record in self.broker.visible(INPUT)}
        values = [record.value or b"" for record in self.committed(LATE)]
        return [(tasks[value], time_of(value) // SIZE * SIZE) for value in values]

    def open(self) -> Counter[Window]:
        """How many records each open window has, as the changelog says."""
        fold = {(r.partition.index, int(r.key or b"")): r.value for r in self.committed(CHANGELOG)}
        held = {window: value for window, value in fold.items() if value is not None}
        return Counter(dict(zip(held, ROWS.decode(list(held.values()))["count"], strict=True)))

    def note(self, task: int) -> str:
        """What stands beside the position of a partition."""
        return self.broker.group(GROUP).offsets[Partition(INPUT, task)][1]


class IdleWorld(WindowWorld):
    """Partitions soon go along with the others."""

    idle_after_s = 0.1


def is_sound(value: bytes | None) -> bool:
    """Whether it is no bad record."""
    return value is not None and not value.startswith((b"bad", b"kill"))


def time_of(value: bytes | None) -> int:
    """The event time in a value: `a@<time>#<number>`."""
    return int((value or b"").partition(b"@")[2].partition(b"#")[0])


def _places(task: int, starts: Collection[int]) -> tuple[pl.Series, pl.Series]:
    keys = pl.Series([b"%d" % start for start in starts], dtype=pl.Binary)
    return pl.Series([task] * len(starts), dtype=pl.Int64), keys
