"""Which days of event time are closed: a fact of a commit, never of the clock.

A day is closed when the watermark of every input partition has passed its end plus the lateness.
The watermarks are asked for before the log's end is, so a cut holds all that was made before them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final, Literal

import polars as pl

from headwater.ports import CommitRecord, DaysClosed, UnreadableRecord

DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1)

State = Literal["open", "complete", "assumed"]
_COLUMNS: Final = pl.Schema(
    {"day": pl.Date(), "state": pl.String(), "rows": pl.Int64(), "corrections": pl.Int64()}
)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an input partition has come: its watermark in milliseconds, None before the first.

    `is_idle`: it stands there because it brought nothing for so long, not by its records.
    """

    watermark: int | None
    is_idle: bool = False


def closing(marks: Iterable[Mark], lateness_ms: int) -> DaysClosed | None:
    """The days that are over by the marks of all partitions that are waited for.

    None where no day is: a partition has no watermark yet, or there is none at all.
    """
    held = list(marks)
    known = [each.watermark for each in held if each.watermark is not None]
    if not known or len(known) < len(held):
        return None
    day = (min(known) - lateness_ms) // DAY_MS  # from which on days are open
    if day <= (date.min - _EPOCH).days:  # there is none before it
        return None
    return DaysClosed(
        before=(_EPOCH + timedelta(days=day)).isoformat(),
        is_assumed=any(each.is_idle for each in held),
    )


def corrected(rows: Mapping[str | None, int], before: str | None) -> dict[str, int]:
    """How many rows came of days that were closed already, by day; `rows` are those of a commit."""
    if before is None:
        return {}
    return {day: count for day, count in sorted(rows.items(), key=str) if day and day < before}


def closed_before(records: Iterable[CommitRecord]) -> list[str | None]:
    """Before which day all were closed when each of these was committed, oldest first."""
    found: list[str | None] = []
    reached: str | None = None
    for record in records:
        found.append(reached)
        if record.days is not None and record.days.before is not None:
            reached = max(reached or record.days.before, record.days.before)
    return found


@dataclass(frozen=True, slots=True)
class ClosedDays:
    """The days of a table as of a cut.

    Every day before `before` is closed; None where none is. `corrections` are the rows that came of
    a day after it was closed, by day, over all commits. `rows` are those of each day, of None those
    without event time; None where the table does not tell how many.
    """

    before: date | None
    corrections: Mapping[date, int]
    _closings: Sequence[tuple[date, bool]] = ()
    rows: Mapping[date | None, int | None] = field(default_factory=dict)

    def frame(self) -> pl.DataFrame:
        """The days that have rows, in order: `day`, `state`, `rows` and `corrections` among them.

        Rows without event time are of no day and in no state: there these are null, behind all.
        Days without rows are not listed; `state` tells of each.
        """
        days = sorted(self.rows, key=lambda day: (day is None, day))
        states = [None if day is None else self.state(day) for day in days]
        late = [None if day is None else self.corrections.get(day, 0) for day in days]
        return pl.DataFrame(
            {
                "day": days,
                "state": states,
                "rows": [*map(self.rows.get, days)],
                "corrections": late,
            },
            schema=_COLUMNS,
        )

    @property
    def reached(self) -> Mapping[str, date]:
        """The day behind the last that was closed as complete, and behind the last assumed one."""
        return {_as(is_assumed): before for before, is_assumed in self._closings}  # they ascend

    def state(self, day: date) -> State:
        """Whether a day is "complete", "assumed" or still "open".

        "assumed" where an input partition was idle when it was closed.
        """
        for before, is_assumed in self._closings:
            if day < before:
                return _as(is_assumed)
        return "open"


def _as(is_assumed: bool) -> State:  # noqa: FBT001 - the fact itself
    return "assumed" if is_assumed else "complete"


def closed_days(records: Iterable[CommitRecord | UnreadableRecord]) -> ClosedDays:
    """What the commits of a table, oldest first, say of its days."""
    closings: list[tuple[date, bool]] = []
    corrections: dict[date, int] = {}
    for record in records:
        if isinstance(record, UnreadableRecord) or record.days is None:
            continue
        for text, rows in record.days.corrected.items():
            day = date.fromisoformat(text)
            corrections[day] = corrections.get(day, 0) + rows
        if record.days.before is not None:
            before = date.fromisoformat(record.days.before)
            if not closings or before > closings[-1][0]:
                closings.append((before, record.days.is_assumed))
    return ClosedDays(closings[-1][0] if closings else None, corrections, closings)
