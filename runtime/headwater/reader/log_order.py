"""The rows of a table in the order of the log, one partition at a time. Columns, never a row."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import polars as pl

from headwater.errors import DamagedError
from headwater.model import Position
from headwater.ports import TableFile
from headwater.reader.snapshot import Snapshot

SLICE_ROWS: Final = 20_000  # of a sorted copy at once, as many as a file gives
BEFORE_ALL: Final = -1  # the least offset of a file of which the table says none

Frames = Generator[pl.DataFrame, None, None]


def in_log_order(snapshot: Snapshot, start: Position, *, mode: str) -> Frames:
    """The rows of a partition from an offset on, offsets ascending, in frames that are not empty.

    Files of mode "append" stand in the order of the log and are read as they come, several at once
    where their offsets overlap. Those of "latest" stand in no order: each is sorted on its way to
    disk first, so that memory holds one. Raises DamagedError and what `Snapshot.of_file` does.
    """
    files = [each for each in snapshot.files() if _may_hold(each, start)]
    if mode != "latest":
        yield from _merged([_Run.of(each, _rows(snapshot, each, start)) for each in files])
        return
    with TemporaryDirectory(prefix="headwater-backfill-") as scratch:
        copies = (Path(scratch) / f"{number}.arrow" for number in count())
        yield from _merged(
            [_Run.of(f, _sorted(_rows(snapshot, f, start), next(copies))) for f in files]
        )


@dataclass(slots=True)
class _Run:
    """Rows in order, and the next of them; `least` is no greater than any of their offsets."""

    least: int
    rows: Frames
    head: pl.DataFrame | None = None

    @classmethod
    def of(cls, file: TableFile, rows: Frames) -> Self:
        """The rows of a file, which nobody has begun to read."""
        least = BEFORE_ALL if file.offsets is None else file.offsets[0]
        return cls(least, _ascending(rows, file.name))

    def fill(self) -> bool:
        """Have a head; False when no row is left."""
        if self.head is None or self.head.is_empty():
            self.head = next(self.rows, None)
        return self.head is not None

    @property
    def last(self) -> int:
        """The offset of the last row at hand."""
        return _offset(self._held, -1)

    def take(self, until: int) -> pl.DataFrame:
        """The rows at hand up to an offset, that included."""
        count = self._held["_offset"].search_sorted(until, side="right")
        taken, self.head = self._held[:count], self._held[count:]
        return taken

    @property
    def _held(self) -> pl.DataFrame:
        if self.head is None:
            message = "a run is filled before its rows are taken"
            raise ValueError(message)
        return self.head


def _merged(waiting: Sequence[_Run]) -> Frames:
    """A file is opened when its first row may be the next: those in one line stay closed."""
    closed, opened = sorted(waiting, key=lambda run: run.least), list[_Run]()
    while True:
        opened = [run for run in opened if run.fill()]
        while closed and (not opened or closed[0].least <= min(run.last for run in opened)):
            if (run := closed.pop(0)).fill():
                opened.append(run)
        if not opened:
            return
        until = min(run.last for run in opened)
        parts = [part for run in opened if not (part := run.take(until)).is_empty()]
        yield parts[0] if len(parts) == 1 else pl.concat(parts).sort("_offset")


def _may_hold(file: TableFile, start: Position) -> bool:
    within = file.partitions or (start.partition.index, start.partition.index)
    is_behind = file.offsets is None or file.offsets[1] >= start.next_offset
    return within[0] <= start.partition.index <= within[1] and is_behind


def _rows(snapshot: Snapshot, file: TableFile, start: Position) -> Frames:
    wanted = (pl.col("_partition") == start.partition.index) & (
        pl.col("_offset") >= start.next_offset
    )
    for frame in snapshot.of_file(file):
        if not (rows := frame.filter(wanted)).is_empty():
            yield rows


def _sorted(rows: Frames, path: Path) -> Frames:
    """The rows of a file sorted, from a copy on disk: many of them are read at once."""
    if not (frames := list(rows)):
        return
    height = sum(frame.height for frame in frames)
    pl.concat(frames).sort("_offset").write_ipc(path)
    frames.clear()
    for first in range(0, height, SLICE_ROWS):
        yield pl.scan_ipc(path).slice(first, SLICE_ROWS).collect()


def _ascending(rows: Frames, name: str) -> Frames:
    last = BEFORE_ALL
    for frame in rows:
        if _offset(frame, 0) <= last or not frame["_offset"].is_sorted():
            raise DamagedError(
                f"The rows of {name} do not stand in the order of the log: another writer changed"
                f" the table. Take a new snapshot into another directory."
            )
        last = _offset(frame, -1)
        yield frame


def _offset(frame: pl.DataFrame, row: int) -> int:
    return int(frame["_offset"][row])
