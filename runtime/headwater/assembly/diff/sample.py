"""A few rows that differ, as people may see them: masked where a contract says so."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import polars as pl

from headwater.assembly.diff.frames import Column, RowDiff
from headwater.assembly.plain import plain
from headwater.contract import ROW, touches
from headwater.ports import Records
from headwater.redaction import REDACTED

Kind: TypeAlias = Literal["added", "removed", "changed"]

NO_RECORD: Final = ("", -1)  # in the place of topic and partition


@dataclass(slots=True)
class Sample:
    """The first `size` rows of each kind in the order of the log, as JSON can write them.

    Which they are does not hang on timing: each partition keeps its own first ones until the end.
    `masked` are the sensitive fields of both sides.
    """

    key: Sequence[str]
    columns: Sequence[Column]
    masked: frozenset[str]
    size: int
    _kept: dict[tuple[Kind, str, int], list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, records: Records | None, diff: RowDiff, changed: pl.Series) -> None:
        """Keep rows of one batch, which is of one partition; of none: no record made the rows."""
        one_sided: tuple[tuple[Kind, pl.DataFrame], ...] = (
            ("added", diff.added),
            ("removed", diff.removed),
        )
        for kind, frame in one_sided:
            for row in self._room(kind, records, frame.height):
                values = {name: self._shown(frame[name], row, name) for name in _names(frame)}
                self._keep(kind, records, frame[row], {"row": values})
        places = changed.arg_true()
        for at in self._room("changed", records, len(places)):
            self._keep_pair(records, diff, places[at])

    def rows(self) -> list[dict[str, Any]]:
        """What was kept: kind, place of the input record, key, and the row or its columns.

        The place is null where no single record made the row.
        """
        by_kind: dict[Kind, list[dict[str, Any]]] = {"changed": [], "added": [], "removed": []}
        for (kind, _, _), rows in sorted(self._kept.items()):
            by_kind[kind] += rows
        return [row for rows in by_kind.values() for row in rows[: self.size]]

    def _room(self, kind: Kind, records: Records | None, rows: int) -> range:
        if not rows or not self.size:
            return range(0)
        held = self._kept.setdefault((kind, *_place(records)), [])
        return range(min(rows, self.size - len(held)))

    def _keep_pair(self, records: Records | None, diff: RowDiff, at: int) -> None:
        left, right = diff.pairs
        differing = [each for each in self.columns if diff.differs[each.name][at]]
        values = {
            each.name: {
                "today": self._shown(each.within(left), at, each.name),
                "candidate": self._shown(each.within(right), at, each.name),
            }
            for each in differing
        }
        self._keep("changed", records, left[at], {"columns": values})

    def _keep(
        self, kind: Kind, records: Records | None, row: pl.DataFrame, what: dict[str, Any]
    ) -> None:
        key = {name: self._shown(row[name], 0, name) for name in self.key if name in row}
        topic, index = _place(records)
        place: dict[str, Any] = {"topic": None, "partition": None, "offset": None}
        if records is not None:
            offset = records.offsets()[row[ROW].item()]
            place = {"topic": topic, "partition": index, "offset": offset}
        self._kept[kind, topic, index].append({"kind": kind, **place, "key": key, **what})

    def _shown(self, series: pl.Series, at: int, name: str) -> Any:
        if touches(name, self.masked):
            return REDACTED
        return _finite(plain(series[at], series.dtype))


def _place(records: Records | None) -> tuple[str, int]:
    return NO_RECORD if records is None else (records.topic, records.partitions()[0])


def _finite(value: Any) -> Any:
    """With texts in the place of NaN and infinities, which JSON has no numbers for."""
    match value:
        case float():
            return value if math.isfinite(value) else str(value)
        case list():
            return [_finite(each) for each in value]
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case _:
            return value


def _names(frame: pl.DataFrame) -> Iterator[str]:
    return (name for name in frame.columns if name != ROW)
