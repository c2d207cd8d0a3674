"""Keeps a table small and tidy: small files are merged, and what nobody needs any more goes.

Planning is pure. A merge is a commit like any other and moves no cut, so whoever writes meanwhile
loses nothing: one of the two goes behind the other, or begins again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import pyarrow as pa

from headwater.clock import SYSTEM, Clock
from headwater.errors import OvertakenError
from headwater.ports import Change, NewFile, Swept, Table, TableFile, UnreadableRecord
from headwater.snapshot.file_names import part_name
from headwater.snapshot.scratch import scratch_directory

MERGED_FILES: Final = 8  # small files of one place that are worth a merge, however small
TURNS: Final = 3  # against writers that are faster; the next upkeep finds the files again


@dataclass(frozen=True, slots=True)
class Upkept:
    """What one upkeep did: so many files became so many, and so much is gone for good.

    `swept` is None where another process was at it.
    """

    merged: int
    into: int
    swept: Swept | None


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Upkeep of one table.

    `target` is the size of a file in bytes, `keep_ms` how long a version stays readable after a
    newer one came. `beat` is called while rows are read, several times a second; what it raises
    ends the upkeep, and harms as little as any other interruption.
    """

    table: Table
    target: int
    keep_ms: int
    clock: Clock = SYSTEM
    beat: Callable[[], object] = lambda: None

    def run_when_due(self) -> Upkept | None:
        """Do it if it was not done for long; None when there was nothing to do.

        Raises DamagedError when a file cannot be read, RetriableError when the storage refuses; the
        table holds the same rows whenever it is interrupted.
        """
        return self.run() if self.table.is_upkeep_due(self.clock.wall_ms()) else None

    def run(self) -> Upkept:
        """Merge small files, then take away what is not needed. Raises as `run_when_due`."""
        merged, into = self._merge()
        swept = self.table.tidy(self.clock.wall_ms(), self.keep_ms)
        return Upkept(merged, into, swept)

    def _merge(self) -> tuple[int, int]:
        for _ in range(TURNS):
            if self.table.version() is None or not self._is_mergeable():
                break
            plan = planned(self.table.files(), self.target)
            try:
                for groups in _commits(plan, self.target):
                    self._replace(groups)
            except OvertakenError:
                continue
            return sum(map(len, plan)), len(plan)
        return 0, 0

    def _is_mergeable(self) -> bool:
        """Whether the rows stand in the order of the log; buckets of "latest" are their own."""
        found = self.table.last_commit()
        return (
            found is not None
            and not isinstance(found[1], UnreadableRecord)
            and found[1].mode != "latest"
        )

    def _replace(self, groups: Sequence[Sequence[TableFile]]) -> None:
        with scratch_directory("upkeep") as directory:
            files = [
                NewFile(
                    _name(group),
                    self._rows(group, directory / f"{place}.arrow"),
                    value=group[0].value,
                )
                for place, group in enumerate(groups)
            ]
            removed = [each.name for group in groups for each in group]
            self.table.commit(Change(files, None, removed=removed))

    def _rows(self, group: Sequence[TableFile], path: Path) -> pa.Table:
        """The rows of files one after the other, mapped from a disk: a batch is in memory."""
        batches = (batch for file in group for batch in self.table.scan(file.name))
        first = next(batches)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, first.schema) as writer:
            writer.write_batch(first)
            for batch in batches:
                self.beat()
                writer.write_batch(batch)
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def planned(files: Sequence[TableFile], target: int) -> list[list[TableFile]]:
    """Which files become one, each list in the order of the log; `target` in bytes.

    Neighbours of one partition and value, once they are half a target together. Fewer bytes are
    merged too, so that tiny files do not pile up, but each file only with as much again as it has
    itself: so a row is written anew as often as its file can double.
    """
    placed = sorted((each for each in files if _is_known(each)), key=_place)
    return [
        group
        for _, part in groupby(placed, key=_division)
        for stretch in _stretches(list(part), target // 2)
        for group in _groups(stretch, target)
    ]


def _commits(
    groups: Sequence[Sequence[TableFile]], target: int
) -> Iterator[Sequence[Sequence[TableFile]]]:
    """Merges that make one commit: as many as need no more of the disk than one large file."""
    part: list[Sequence[TableFile]] = []
    for group in groups:
        if part and sum(map(_bytes, part)) + _bytes(group) > target:
            yield part
            part = []
        part.append(group)
    if part:
        yield part


def _stretches(files: Sequence[TableFile], large: int) -> Iterator[list[TableFile]]:
    """Neighbours without a large file between them."""
    for is_large, part in groupby(files, key=lambda each: _size(each) >= large):
        if not is_large:
            yield list(part)


def _groups(files: list[TableFile], target: int) -> Iterator[list[TableFile]]:
    group: list[TableFile] = []
    for file in files:
        if group and _bytes(group) + _size(file) > target:
            yield group
            group = []
        group.append(file)
    if _bytes(group) < target // 2:
        group = _alike(group)
    if len(group) > 1:
        yield group


def _alike(files: list[TableFile]) -> list[TableFile]:
    """The newest, as far back as none is larger than all others; none if they are few."""
    found: list[TableFile] = []
    largest = total = 0
    for first in range(len(files) - 1, -1, -1):
        size = _size(files[first])
        largest, total = max(largest, size), total + size
        if 2 * largest <= total:
            found = files[first:]
    return found if len(found) >= MERGED_FILES else []


def _is_known(file: TableFile) -> bool:
    """Whether a table says where the rows of a file stand: in one partition, in order."""
    return (
        file.size is not None
        and file.offsets is not None
        and file.partitions is not None
        and file.partitions[0] == file.partitions[1]
    )


def _partition(file: TableFile) -> int:
    return file.partitions[0] if file.partitions else 0


def _division(file: TableFile) -> tuple[bool, str, int]:
    """What the files of a merge have in common: value, which may be null, and partition."""
    return file.value is not None, file.value or "", _partition(file)


def _place(file: TableFile) -> tuple[tuple[bool, str, int], tuple[int, int]]:
    return _division(file), file.offsets or (0, 0)


def _size(file: TableFile) -> int:
    return file.size or 0


def _bytes(files: Sequence[TableFile]) -> int:
    return sum(map(_size, files))


def _name(group: Sequence[TableFile]) -> str:
    """As the writer names a file: partition, first offset, and the one behind the last."""
    (start, _), (_, last) = group[0].offsets or (0, 0), group[-1].offsets or (0, 0)
    return part_name(_partition(group[0]), start, last + 1)
