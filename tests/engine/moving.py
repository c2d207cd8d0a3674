"""A world whose rows go through a repartition topic and are counted by windows behind it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, cast

import polars as pl
from tests.engine.closing import ROWS, SIZE, Window
from tests.engine.conftest import DEAD, GROUP, INPUT, OUTPUT, EchoTask, Process, World
from tests.engine.disks import Disks
from tests.engine.test_task import CONTRACT, SCHEMA_ID, SCHEMAS, stream

from headwater.contract import Decoder, Encoder
from headwater.engine import (
    InputPolicy,
    LetterWriter,
    Repartition,
    Route,
    SectionTask,
    StepStore,
    Stores,
    Task,
    Work,
)
from headwater.engine.dead_letters import source_position
from headwater.errors import UnavailableError
from headwater.flow import (
    ROW,
    Batch,
    Columns,
    Ground,
    KeyedRows,
    Processed,
    Section,
    StatefulStage,
    sections_of,
)
from headwater.model import Positions, Quarantine, RawRecord
from headwater.ports import Records, TopicSettings
from headwater.product import Latest
from headwater.state import KeyedStore, StoreSettings

STEP: Final = "latest-1"
CHANGELOG: Final = f"{OUTPUT}.{STEP}.changelog"
REPARTITION: Final = f"{OUTPUT}.rekey-1.repartition"
PARTITIONS: Final = 2
GROUPS: Final = 4


def refuse_worse(frame: pl.DataFrame) -> pl.DataFrame:
    """A step behind the change of key that cannot do some events."""
    if frame["id"].str.contains("worse").any():
        raise ValueError
    return frame


class CountStage(StatefulStage):
    """Counts rows by windows of event time: `<task>|<start>` with the count when one closes.

    A row goes on as it is; a late one as `late|<id>`.
    """

    rows = ROWS

    def __init__(self, step: Latest, given: Columns) -> None:
        self.step = step
        self.given = given
        self.stream_key = ()

    def columns(self, given: Columns) -> Columns:
        return given

    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        out = []
        for row in frame.to_dicts():
            place = row[ROW]
            start = batch.times[place] // SIZE * SIZE
            mark = batch.watermarks[place]
            if mark is not None and start + SIZE <= mark:
                row["id"] = f"late|{row['id']}"
            else:
                self._add(store, batch.tasks[place], start)
            out.append(row)
        for task, mark in sorted(batch.reached.items()):
            out += [
                {
                    ROW: batch.no_row,
                    "id": f"{task}|{start}",
                    "n": count,
                    "at": datetime.fromtimestamp(0, UTC),
                    "group": 0,
                }
                for start, count in self._due(store, task, mark)
            ]
        schema = {ROW: pl.UInt32(), **self.given}
        return Processed(pl.DataFrame(out, schema=schema), [])

    def _add(self, store: KeyedRows, task: int, start: int) -> None:
        place = pl.Series([task]), pl.Series([b"%d" % start], dtype=pl.Binary)
        count = (store.read(*place)["count"].item() or 0) + 1
        store.write(*place, pl.DataFrame({"count": [count]}))

    def _due(self, store: KeyedRows, task: int, mark: int) -> list[tuple[int, int]]:
        starts = list(range(0, mark - SIZE + 1, SIZE))
        keys = pl.Series([b"%d" % start for start in starts], dtype=pl.Binary)
        counts = store.read(pl.Series([task] * len(starts), dtype=pl.Int64), keys)["count"]
        due = [(s, c) for s, c in zip(starts, counts, strict=True) if c is not None]
        gone = pl.Series([b"%d" % start for start, _ in due], dtype=pl.Binary)
        store.delete(pl.Series([task] * len(due), dtype=pl.Int64), gone)
        return due


class MovingTask(Task):
    """The real thing, with what histories do to it."""

    def __init__(self, *given: Any, section: SectionTask, **named: Any) -> None:
        super().__init__(*given, **named)
        self.away = 0
        self.kill: Any = None
        self.section = section

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        if self.away:
            self.away -= 1
            raise UnavailableError("the registry does not answer")
        return super().process(records, guilty)


@dataclass(frozen=True)
class Row:
    """A record of the repartition topic; `offset` is None for one that only tells of event time."""

    task: int
    at: int
    source: int
    watermark: int | None
    time: int | None
    origin: int | None
    offset: int | None
    id: str | None


class MovingWorld(World):
    """Orders are moved to the task of their group; every instance has a disk."""

    idle_after_s: float | None = None
    stored = ROWS

    def __init__(self) -> None:
        super().__init__()
        self.topics.create(
            [
                TopicSettings(REPARTITION, PARTITIONS, "repartition"),
                TopicSettings(CHANGELOG, PARTITIONS, "table"),
            ]
        )
        changelogs = {CHANGELOG: [REPARTITION]}
        self.start = replace(self.start, changelogs=changelogs, repartitions=[REPARTITION])
        self.disks = Disks()

    def feed(self, *values: bytes) -> None:
        """Orders out of order in event time; of the bad ones every other shows late."""
        for place, value in enumerate(values, start=1):
            self._fed += 1
            kind = value.decode()
            at = 3 * self._fed + self._fed * place * 7 % 19
            if kind == "bad" and self._fed % 2:
                content = b"no frame"
            else:
                kind = kind.replace("bad", "worse")
                content = order(f"{kind}-{self._fed}", self._fed, at)
            self.broker.append(INPUT, content, key=b"k%d" % (self._fed % 5))

    def stores(self, process: Process) -> Stores:
        settings = StoreSettings(self.topics.topic_id(CHANGELOG))
        store = KeyedStore(self.stored, self.disks.of(process), settings, clock=self.broker.clock)
        return Stores([StepStore(OUTPUT, STEP, REPARTITION, store)])

    def task(self, stores: Stores) -> EchoTask:
        first, second = sections()
        store = stores.held[0].store
        letters = LetterWriter(DEAD)
        assert first.writes is not None
        assert second.reads is not None
        section = SectionTask(
            second.reads,
            self.routes(second, store),
            origin=INPUT,
            sources=3,
            dead_letters=letters,
        )
        task = MovingTask(
            Decoder(CONTRACT, SCHEMAS.__getitem__),
            [Route(REPARTITION, first.plan, Repartition(REPARTITION, first.writes, PARTITIONS))],
            dead_letters=letters,
            policy=InputPolicy(idle_after_s=self.idle_after_s),
            section=section,
        )
        task.skip_proofs()
        section.skip_proofs()
        return cast("EchoTask", task)

    def routes(self, section: Section, store: KeyedStore) -> list[Route]:
        """What is made of the rows that were moved."""
        plan = section.plan.with_stores({STEP: store})
        return [Route(OUTPUT, plan, Encoder(CONTRACT, SCHEMA_ID), stores=[store])]

    def tasks(self, task: EchoTask) -> Mapping[str, Task]:
        return {INPUT: task, REPARTITION: cast("MovingTask", task).section}

    # -- what must be seen -------------------------------------------------------------------------

    def moved_positions(self) -> Positions:
        """How far the repartition topic is read."""
        return self.topics.group_offsets(GROUP, REPARTITION)

    def positions(self) -> Positions:
        """Those of the input; none while what was moved is not all read."""
        return super().positions() if self._is_read() else {}

    def _is_read(self) -> bool:
        """Whether no row that was moved lies ahead; what only tells of event time may."""
        return all(r.at < self._read_to(r.task) for r in self.moved() if r.offset is not None)

    def check(self) -> None:
        """Each record is moved once, and what was moved comes out once; windows as recorded."""
        positions = super().positions()
        fed = self.broker.visible(INPUT)
        read = [each for each in fed if each.offset < positions.get(each.partition, 0)]
        wanted = Counter(
            (record.partition.index, record.offset)
            for record in read
            if kind_of(record) in {"a", "last", "worse"}
        )
        rows = self.moved()
        assert Counter((r.origin, r.offset) for r in rows if r.offset is not None) == wanted
        seen = [row for row in rows if row.at < self._read_to(row.task)]
        self._check_outputs([row for row in seen if row.offset is not None])
        self._check_letters(read, seen)
        self._check_windows(seen)

    def check_complete(self) -> None:
        """Everything fed is through, and no log is stuck."""
        self.check()
        assert super().positions() == self.topics.ends(INPUT)
        assert self._is_read()
        self._check_heartbeats()
        for topic in (OUTPUT, DEAD, REPARTITION):
            assert self.topics.ends(topic) == self.topics.high_watermarks(topic)

    def _check_heartbeats(self) -> None:
        """Every partition knows how far each source has come, with rows of it or without."""
        last = {(r.source, r.task): r.watermark for r in self.moved() if r.watermark is not None}
        for source in {source for source, _ in last}:
            told = {last.get((source, task)) for task in range(PARTITIONS)}
            assert len(told) == 1, f"source {source} is at {told}"

    def _read_to(self, task: int) -> int:
        return {p.index: at for p, at in self.moved_positions().items()}.get(task, 0)

    def moved(self) -> list[Row]:
        """The committed records of the repartition topic, partition by partition."""
        records = self.committed(REPARTITION)
        _, second = sections()
        assert second.reads is not None
        columns = second.reads._rows.decode([record.value or b"" for record in records])
        return [
            Row(
                record.partition.index,
                record.offset,
                each["_source"],
                each["_watermark"],
                each["_time"],
                each["_partition"],
                each["_offset"],
                each["id"],
            )
            for record, each in zip(records, columns.to_dicts(), strict=True)
        ]

    def _check_outputs(self, seen: Sequence[Row]) -> None:
        wanted = [row.id for row in seen if not (row.id or "").startswith("worse")]
        found = [name.removeprefix("late|") for name, _ in self.rows() if "-" in name]
        assert Counter(found) == Counter(wanted)

    def _check_letters(self, read: Sequence[RawRecord], seen: Sequence[Row]) -> None:
        bad = [(r.partition.index, r.offset) for r in read if kind_of(r) == "bad"]
        bad += [(r.origin or 0, r.offset or 0) for r in seen if (r.id or "").startswith("worse")]
        letters = [source_position(letter.headers) for letter in self.committed(DEAD)]
        assert Counter(letters) == Counter((INPUT, *place) for place in bad)

    def _check_windows(self, seen: Sequence[Row]) -> None:
        """As one who reads the committed records one by one would have it."""
        late, open_, closed = Counter[str](), Counter[Window](), Counter[Window]()
        marks: dict[int, int | None] = {}
        for row, mark in walked(seen):
            marks[row.task] = mark
            if row.offset is None or (row.id or "").startswith("worse"):
                continue
            start = (row.time or 0) // SIZE * SIZE
            if mark is not None and start + SIZE <= mark:
                late[row.id or ""] += 1
            else:
                open_[row.task, start] += 1
        for task, start in list(open_):
            if (mark := marks[task]) is not None and start + SIZE <= mark:
                closed[task, start] = open_.pop((task, start))
        told = [(name, count) for name, count in self.rows() if "-" not in name]
        assert len({name for name, _ in told}) == len(told), "closed twice"
        assert {tuple(map(int, name.split("|"))): n for name, n in told} == dict(closed)
        assert Counter(n.removeprefix("late|") for n, _ in self.rows() if "late" in n) == late
        assert self.open() == open_

    def rows(self) -> list[tuple[str, int]]:
        """The `id` and `n` of what is published."""
        values = [record.value or b"" for record in self.committed(OUTPUT)]
        decoded = Decoder(CONTRACT, SCHEMAS.__getitem__).decode(values).frame
        return decoded.select("id", "n").rows()

    def open(self) -> Counter[Window]:
        """How many rows each open window has, as the changelog says."""
        fold = {(r.partition.index, int(r.key or b"")): r.value for r in self.committed(CHANGELOG)}
        held = {window: value for window, value in fold.items() if value is not None}
        return Counter(dict(zip(held, ROWS.decode(list(held.values()))["count"], strict=True)))


class IdleMovingWorld(MovingWorld):
    """Partitions of the input are soon left out of account."""

    idle_after_s = 0.1


def walked(rows: Sequence[Row]) -> Iterator[tuple[Row, int | None]]:
    """Each record with the watermark of its task: the least of the sources, record by record."""
    heard: defaultdict[int, dict[int, tuple[int, bool]]] = defaultdict(dict)
    marks: dict[int, int | None] = {}
    for row in rows:
        known = heard[row.task]
        last, _ = known.get(row.source, (-(10**9), False))
        if row.watermark is not None:
            known[row.source] = (max(last, row.watermark), False)
        elif row.offset is None:
            known[row.source] = (last, True)
        active = [mark for mark, is_idle in known.values() if not is_idle]
        before = marks.get(row.task)
        if len(known) == 3:
            mark = min(active) if active else max(mark for mark, _ in known.values())
            if mark > -(10**9):
                marks[row.task] = mark if before is None else max(before, mark)
        yield row, marks.get(row.task)


def sections() -> tuple[Section, Section]:
    """Filter and group the orders; move them; refuse some; count them."""
    flow = (
        stream()
        .filter(~pl.col("id").str.starts_with("drop"))
        .with_columns(group=pl.col("n") % GROUPS)
        .rekey("group")
        .latest("group", by="n")
        .map(refuse_worse)
        .select("id", "n", "at")
    )
    first, second = sections_of(flow, OUTPUT, CONTRACT.columns, ground=Ground(("id",)))
    latest = second.plan.stages[0]
    assert isinstance(latest, StatefulStage)
    assert isinstance(latest.step, Latest)
    second.plan.stages[0] = CountStage(latest.step, latest.given)
    return first, second


def order(name: str, number: int, at: int) -> bytes:
    """A framed order."""
    frame = pl.DataFrame(
        {
            ROW: pl.Series([0], dtype=pl.UInt32),
            "id": [name],
            "n": pl.Series([number], dtype=pl.Int32),
            "at": pl.Series([at], dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
        }
    )
    return Encoder(CONTRACT, SCHEMA_ID).encode(frame).values[0]


def kind_of(record: RawRecord) -> str:
    """What an input record is: a, bad, drop, worse or last."""
    if record.value == b"no frame":
        return "bad"
    frame = Decoder(CONTRACT, SCHEMAS.__getitem__).decode([record.value]).frame
    return str(frame["id"][0]).partition("-")[0]
