"""What a table really holds: every row of every file, counted for the range that took it.

Nothing that the table says of its files is believed: neither their rows nor their bounds.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import DamagedError
from headwater.ports import Table, TableFile
from headwater.snapshot.codecs import Codecs
from headwater.snapshot.division import DATE, DATE_FIELD, scalar_of, text_of
from headwater.snapshot.rows import NumberedRows
from headwater.snapshot.spans import Booked, Tally
from headwater.snapshot.verdict import Difference, Findings


@dataclass(slots=True)
class Stretch:
    """Rows of one partition: the least offset, the greatest, how many."""

    first: int
    last: int
    rows: int = 0

    def grow(self, other: "Stretch") -> None:
        """Take in more."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.rows += other.rows


@dataclass(slots=True)
class Content:
    """What a scan of one file found.

    `held` and `stray` are by partition, `stray` of no range; `counted` and `stretches` by the place
    of the range; `values` are those of the column that divides the table. `late` are its rows of
    days that were closed already, by the place of the range and the day.
    """

    rows: int = 0
    without_place: int = 0
    values: set[str | None] = field(default_factory=set)
    held: dict[int, Stretch] = field(default_factory=dict)
    stray: dict[int, Stretch] = field(default_factory=dict)
    counted: dict[int, Tally] = field(default_factory=dict)
    stretches: dict[int, Stretch] = field(default_factory=dict)
    late: dict[int, Counter[str]] = field(default_factory=dict)
    damage: DamagedError | None = None


@dataclass(slots=True)
class Held:
    """What the files of a version hold of one range; `files` are those with rows of it.

    `late` are its rows of days that were closed already, by day.
    `is_damaged` when a file that should hold rows of it cannot be read.
    """

    tally: Tally = field(default_factory=Tally)
    files: list[str] = field(default_factory=list)
    is_damaged: bool = False
    late: Counter[str] = field(default_factory=Counter)

    def merge(self, other: "Held") -> None:
        """With those of another range."""
        self.tally.merge(other.tally)
        self.files += [name for name in other.files if name not in self.files]
        self.is_damaged |= other.is_damaged


class _Chain:
    """The ranges of one partition in offset order, each with its place."""

    def __init__(self, ranges: Iterable[tuple[int, Booked]]) -> None:
        self._ranges = sorted(ranges, key=lambda each: (each[1].taken.start, each[1].taken.end))
        self._starts = [each.taken.start for _, each in self._ranges]

    def stretches(self, offsets: Sequence[int]) -> Iterator[tuple[int | None, int, int]]:
        """Ascending offsets as places `[first, last)` of one range each, or of none."""
        first = 0
        while first < len(offsets):
            after = bisect_right(self._starts, offsets[first])
            place, found = self._ranges[after - 1] if after else (None, None)
            if found is not None and offsets[first] < found.taken.end:
                last = bisect_left(offsets, found.taken.end, first)
            else:
                place, last = None, len(offsets)
                if after < len(self._starts):
                    last = bisect_left(offsets, self._starts[after], first)
            yield place, first, last
            first = last


class Inventory:
    """Counts the rows of files into ranges; each file is read once, and in memory in parts."""

    def __init__(self, table: Table, ranges: Sequence[Booked], codecs: Codecs) -> None:
        self._table = table
        self._ranges = ranges
        self._codecs = codecs
        self._contents: dict[str, Content] = {}
        chains: dict[int, list[tuple[int, Booked]]] = {}
        for place, each in enumerate(ranges):
            if each.taken.start < each.taken.end:
                chains.setdefault(each.taken.partition, []).append((place, each))
        self._chains = {partition: _Chain(chain) for partition, chain in chains.items()}

    def read(self, files: Iterable[TableFile]) -> Iterator[int]:
        """Read the files that were not read yet, and yield the rows of each part."""
        for file in files:
            if file.name in self._contents:
                continue
            content = self._contents[file.name] = Content()
            try:
                for batch in self._table.scan(file.name):
                    self._count(pa.Table.from_batches([batch]), content)
                    yield batch.num_rows
            except DamagedError as error:
                content.damage = error

    def held(
        self, files: Sequence[TableFile], until: int, kept: Collection[str], findings: Findings
    ) -> list[Held]:
        """What files that were read hold of the first ranges; what is wrong with them is told.

        Rows of ranges from `until` on are of no commit then. `kept` names the files of the newest
        version: what is gone and not among them may have been upkeep's to take.
        """
        found = [Held() for _ in self._ranges[:until]]
        for file in files:
            content = self._contents[file.name]
            if content.damage is not None:
                self._damaged(file, found)
                if content.damage.code == "FILE_GONE" and file.name not in kept:
                    findings.not_kept(f"{content.damage}, and no newer version has it")
                else:
                    findings.differs(_damage(file, content.damage))
                continue
            for place, tally in content.counted.items():
                if place < until:
                    found[place].tally.merge(tally)
                    found[place].files.append(file.name)
                    found[place].late.update(content.late.get(place, {}))
            _tell(file, content, self._stray(content, until), findings)
            if content.values - {file.value}:  # readers pass a file by for the value told of it
                detail = f"{file.name} holds other {self._table.divided_by} than its commit says"
                findings.differs(Difference("recorded", _partition(file), None, detail))
        return found

    def rows(self, each: Booked, files: Collection[str]) -> Iterator[NumberedRows]:
        """The rows of a range in files that were read, once more, in no order."""
        taken = each.taken
        codec = self._codecs.find(each.schema_id)
        wanted = (pc.field("_partition") == taken.partition) & (
            (pc.field("_offset") >= taken.start) & (pc.field("_offset") < taken.end)
        )
        for name in files:
            for batch in self._table.scan(name):
                rows = pa.Table.from_batches([batch]).filter(wanted)
                if codec is not None and rows.num_rows:
                    yield codec.from_table(rows)

    def _count(self, rows: pa.Table, content: Content) -> None:
        content.rows += rows.num_rows
        if (by := self._table.divided_by) is not None:
            content.values.update(map(text_of, pc.unique(rows[by]).to_pylist()))
        placed = rows
        if any(rows[name].null_count for name in ("_partition", "_offset")):
            placed = rows.filter(pc.field("_partition").is_valid() & pc.field("_offset").is_valid())
        content.without_place += rows.num_rows - placed.num_rows
        for partition, part, offsets in _by_partition(placed):
            _grow(content.held, partition, offsets)
            chain = self._chains.get(partition) or _Chain(())
            for place, first, last in chain.stretches(offsets):
                if place is None:
                    _grow(content.stray, partition, offsets[first:last])
                else:
                    _grow(content.stretches, place, offsets[first:last])
                    self._book(place, part.slice(first, last - first), content)

    def _book(self, place: int, rows: pa.Table, content: Content) -> None:
        tally = content.counted.setdefault(place, Tally())
        codec = self._codecs.find(self._ranges[place].schema_id)
        if codec is None:
            tally.rows += rows.num_rows
        else:
            tally.add(codec.from_table(rows), 0, rows.num_rows)
        before = self._ranges[place].closed_before
        if before is not None and DATE in rows.column_names:  # a wrong record closes days anywhere
            late = rows[DATE].filter(pc.less(rows[DATE], scalar_of(before, DATE_FIELD.type)))
            days = {
                each["values"].isoformat(): each["counts"]
                for each in pc.value_counts(late).to_pylist()
            }
            content.late.setdefault(place, Counter()).update(days)

    def _stray(self, content: Content, until: int) -> Mapping[int, Stretch]:
        """Rows of no range before `until`, by partition."""
        found = {p: Stretch(s.first, s.last, s.rows) for p, s in content.stray.items()}
        for place, stretch in content.stretches.items():
            if place >= until:
                partition = self._ranges[place].taken.partition
                found.setdefault(partition, Stretch(stretch.first, stretch.last)).grow(stretch)
        return found

    def _damaged(self, file: TableFile, found: Sequence[Held]) -> None:
        """Spare the ranges that a file should hold: their rows are not to be had."""
        for each, held in zip(self._ranges, found, strict=False):  # the first of the ranges
            held.is_damaged |= _touches(file, each)


def _by_partition(rows: pa.Table) -> Iterator[tuple[int, pa.Table, list[int]]]:
    """The rows of each partition in offset order, with their offsets."""
    partitions: list[int] = pc.unique(rows["_partition"]).to_pylist()
    for partition in partitions:
        part = rows
        if len(partitions) > 1:
            part = rows.filter(pc.field("_partition") == partition)
        offsets = pl.Series(part["_offset"])
        if not offsets.is_sorted():
            part = part.sort_by("_offset")
            offsets = offsets.sort()
        yield partition, part, offsets.to_list()


def _damage(file: TableFile, error: DamagedError) -> Difference:
    if file.offsets is None:
        return Difference("damaged", _partition(file), None, str(error))
    first, last = file.offsets
    detail = f"{error}: it should hold offsets {first} to {last}"
    return Difference("damaged", _partition(file), first, detail)


def _tell(
    file: TableFile, content: Content, strays: Mapping[int, Stretch], findings: Findings
) -> None:
    for partition, stray in sorted(strays.items()):
        detail = f"{stray.rows:,} rows up to offset {stray.last}, in {file.name}"
        findings.differs(Difference("unaccounted", partition, stray.first, detail))
    if content.without_place:
        detail = f"{content.without_place:,} rows without partition or offset, in {file.name}"
        findings.differs(Difference("unaccounted", None, None, detail))
    for said, found in _claims(file, content):
        detail = f"{file.name} holds {found}, its commit says {said}"
        findings.differs(Difference("recorded", _partition(file), None, detail))


def _grow(stretches: dict[int, Stretch], name: int, offsets: Sequence[int]) -> None:
    """Take in ascending offsets."""
    first, last = offsets[0], offsets[-1]
    stretches.setdefault(name, Stretch(first, last)).grow(Stretch(first, last, len(offsets)))


def _partition(file: TableFile) -> int | None:
    """The one partition a file should hold; None when it should hold several."""
    first, last = file.partitions or (0, 1)
    return first if first == last else None


def _touches(file: TableFile, each: Booked) -> bool:
    """Whether a file should hold rows of a range, by what the table says of it."""
    taken = each.taken
    if taken.start >= taken.end:
        return False
    first, last = file.partitions or (taken.partition, taken.partition)
    if not first <= taken.partition <= last:
        return False
    first, last = file.offsets or (taken.start, taken.start)
    return first < taken.end and taken.start <= last


def _claims(file: TableFile, content: Content) -> Iterator[tuple[str, str]]:
    """What the table says of a file and readers go by, but is not so: said, found."""
    if file.rows is not None and file.rows != content.rows:
        yield f"{file.rows:,}", f"{content.rows:,} rows"
    held = content.held
    if not held:
        return
    offsets = min(each.first for each in held.values()), max(each.last for each in held.values())
    for what, said, found in (
        ("partitions", file.partitions, (min(held), max(held))),
        ("offsets", file.offsets, offsets),
    ):
        if said is not None and not (said[0] <= found[0] and found[1] <= said[1]):
            yield f"{said[0]} to {said[1]}", f"{what} {found[0]} to {found[1]}"
