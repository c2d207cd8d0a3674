"""What a table really holds: every row of every file, counted for the range that took it.

Nothing that the table says of its files is believed: neither their rows nor their bounds.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import DamagedError
from headwater.ports import Table, TableFile
from headwater.snapshot.division import text_of
from headwater.snapshot.rows import NumberedRows, RowCodec
from headwater.snapshot.spans import Booked
from headwater.snapshot.verdict import Difference, Findings

Codecs = Callable[[int], RowCodec | None]
"""The codec of a schema id; None when its rows can only be counted."""


@dataclass(slots=True)
class _Stretch:
    """Rows of one partition: the least offset, the greatest, how many."""

    first: int
    last: int
    rows: int = 0

    def grow(self, first: int, last: int, rows: int) -> None:
        self.first, self.last = min(self.first, first), max(self.last, last)
        self.rows += rows


@dataclass(slots=True)
class _Content:
    """What a scan of one file found, by partition; `stray` lies in no commit's range.

    `values` are those of the column that divides the table.
    """

    rows: int = 0
    without_place: int = 0
    values: set[str | None] = field(default_factory=set)
    held: dict[int, _Stretch] = field(default_factory=dict)
    stray: dict[int, _Stretch] = field(default_factory=dict)


class _Chain:
    """The ranges of one partition in offset order."""

    def __init__(self, ranges: Iterable[Booked]) -> None:
        self._ranges = sorted(ranges, key=lambda each: (each.taken.start, each.taken.end))
        self._starts = [each.taken.start for each in self._ranges]

    def stretches(self, offsets: Sequence[int]) -> Iterator[tuple[Booked | None, int, int]]:
        """Ascending offsets as places `[first, last)` of one range each, or of none."""
        first = 0
        while first < len(offsets):
            after = bisect_right(self._starts, offsets[first])
            found = self._ranges[after - 1] if after else None
            if found is not None and offsets[first] < found.taken.end:
                last = bisect_left(offsets, found.taken.end, first)
            else:
                found = None
                last = len(offsets)
                if after < len(self._starts):
                    last = bisect_left(offsets, self._starts[after], first)
            yield found, first, last
            first = last


class Inventory:
    """Counts the rows of a table into the ranges of its commits; a file is in memory in parts."""

    def __init__(
        self, table: Table, ranges: Sequence[Booked], codecs: Codecs, findings: Findings
    ) -> None:
        self._table = table
        self._ranges = ranges
        self._codecs = codecs
        self._findings = findings
        self._held: dict[str, dict[int, _Stretch]] = {}
        chains: dict[int, list[Booked]] = {}
        for each in ranges:
            if each.taken.start < each.taken.end:
                chains.setdefault(each.taken.partition, []).append(each)
        self._chains = {partition: _Chain(chain) for partition, chain in chains.items()}

    def count(self, files: Iterable[TableFile]) -> Iterator[int]:
        """Read every file once, tell what is wrong with it, and yield the rows of each part."""
        for file in files:
            content = _Content()
            try:
                for batch in self._table.scan(file.name):
                    self._count(pa.Table.from_batches([batch]), content)
                    yield batch.num_rows
            except DamagedError as error:
                self._damaged(file, str(error))
            else:
                self._tell(file, content)
            self._held[file.name] = content.held

    def rows(self, each: Booked) -> Iterator[NumberedRows]:
        """The rows of a range once more, in no order. Its schema has a codec."""
        taken = each.taken
        codec = self._codecs(each.schema_id)
        place = (pc.field("_partition") == taken.partition) & (
            (pc.field("_offset") >= taken.start) & (pc.field("_offset") < taken.end)
        )
        for name, held in self._held.items():
            found = held.get(taken.partition)
            if found is None or found.last < taken.start or taken.end <= found.first:
                continue
            for batch in self._table.scan(name):
                wanted = pa.Table.from_batches([batch]).filter(place)
                if codec is not None and wanted.num_rows:
                    yield codec.from_table(wanted)

    def _count(self, rows: pa.Table, content: _Content) -> None:
        content.rows += rows.num_rows
        if (by := self._table.divided_by) is not None:
            content.values.update(map(text_of, pc.unique(rows[by]).to_pylist()))
        placed = rows.filter(pc.field("_partition").is_valid() & pc.field("_offset").is_valid())
        content.without_place += rows.num_rows - placed.num_rows
        for partition in pc.unique(placed["_partition"]).to_pylist():
            part = placed.filter(pc.field("_partition") == partition).sort_by("_offset")
            offsets: list[int] = part["_offset"].to_pylist()
            _grow(content.held, partition, offsets)
            chain = self._chains.get(partition) or _Chain(())
            for each, first, last in chain.stretches(offsets):
                if each is None:
                    _grow(content.stray, partition, offsets[first:last])
                else:
                    self._book(each, part.slice(first, last - first))

    def _book(self, each: Booked, rows: pa.Table) -> None:
        codec = self._codecs(each.schema_id)
        if codec is None:
            each.table.rows += rows.num_rows
        else:
            each.table.add(codec.from_table(rows), 0, rows.num_rows)

    def _damaged(self, file: TableFile, why: str) -> None:
        """Tell of a file, and spare the ranges it should hold: their rows are not to be had."""
        for each in self._ranges:
            if _touches(file, each):
                each.is_damaged = True
        offset = None
        if file.offsets is not None:
            offset = file.offsets[0]
            why = f"{why}: it should hold offsets {offset} to {file.offsets[1]}"
        self._findings.differs(Difference("damaged", _partition(file), offset, why))

    def _tell(self, file: TableFile, content: _Content) -> None:
        for partition, stray in sorted(content.stray.items()):
            detail = f"{stray.rows:,} rows up to offset {stray.last}, in {file.name}"
            self._findings.differs(Difference("unaccounted", partition, stray.first, detail))
        if content.without_place:
            detail = f"{content.without_place:,} rows without partition or offset, in {file.name}"
            self._findings.differs(Difference("unaccounted", None, None, detail))
        if content.values - {file.value}:  # readers pass a file by for the value told of it
            detail = f"{file.name} holds other {self._table.divided_by} than its commit says"
            self._findings.differs(Difference("recorded", _partition(file), None, detail))
        for said, found in _claims(file, content):
            detail = f"{file.name} holds {found}, its commit says {said}"
            self._findings.differs(Difference("recorded", _partition(file), None, detail))


def _grow(stretches: dict[int, _Stretch], partition: int, offsets: Sequence[int]) -> None:
    """Take in ascending offsets of a partition."""
    first, last = offsets[0], offsets[-1]
    stretches.setdefault(partition, _Stretch(first, last)).grow(first, last, len(offsets))


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


def _claims(file: TableFile, content: _Content) -> Iterator[tuple[str, str]]:
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
