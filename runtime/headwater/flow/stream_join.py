"""`join` of two streams: pairs of rows of one key whose event times are near each other.

Each input has a stage of its own, and both share a store: under a key and a span of time, the rows
of both sides that may still find a partner. A span is as long as `within`, so a row looks into its
own and the two beside it, however far one input runs ahead of the other. A batch is of one input,
so the rows of the other stand still meanwhile.

A row is open until the watermark of its task, the lesser of both inputs', is past its event time by
`within` and the allowed lateness. A pair is told at the later arrival, if both are open there. What
is late, open or over is decided per record, so what comes out does not depend on batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from headwater.contract import ROW, ROW_TYPE, StateRows
from headwater.errors import DeclarationError
from headwater.flow.aggregators import EVENT_TIME, OFFSET
from headwater.flow.grouping import TASK, WATERMARK, event_rows, sorted_out
from headwater.flow.stage import Columns, Processed, refused, unknown_column
from headwater.flow.stateful import Batch, KeyedRows, StatefulStage
from headwater.flow.windows import has_window
from headwater.model import Code
from headwater.product import StreamJoin
from headwater.product.durations import duration_ms

_KEY: Final = "_key"
_START: Final = "_start"  # of the span of time that a row is in
_PIECE: Final = (TASK, _KEY, _START)  # what is stored as one
_KEYS: Final = "_keys"  # the columns of the key
_STORE_KEY: Final = "_store_key"
_PLACE: Final = "_place"  # of a row in its batch
_SEAT: Final = "_seat"  # of a row among those stored
_AT: Final = "_at"  # the record at which a row comes out
_TIME: Final = "_time"
_OFFSET: Final = "_offset"
_IS_PAIRED: Final = "_is_paired"
_VALUES: Final = "_values"
_STORED: Final = (_TIME, _OFFSET, _IS_PAIRED, _VALUES)
_THEIR: Final = {name: f"_their{name}" for name in _STORED}
_TAKEN: Final = ("_added", "_changed")
_LEFT: Final = "_left"
_RIGHT: Final = "_right"
_OURS: Final = frozenset({TASK, WATERMARK, EVENT_TIME, OFFSET, _START})
_NO_TIME: Final = "has no event time between the years 21 and 9979, so nothing is near it"
_LATE: Final = "came when all that it could be paired with was over"


@dataclass(frozen=True, slots=True)
class Side:
    """What comes to one side of a join: its columns, and the key its records come under.

    The columns are None where only data tells them.
    """

    columns: Columns | None
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of a join, and which of them a stage is on."""

    left: Side
    right: Side
    is_left: bool


class StreamJoinStage(StatefulStage):
    """One side of a join of two streams.

    Raises DeclarationError when the step cannot run on these columns.
    """

    needs_event_time = True
    makes_rows = True  # a left row that found nothing comes out when time passes

    def __init__(self, step: StreamJoin, sides: Sides) -> None:
        self.step: StreamJoin = step
        self.is_left: Final = sides.is_left
        left, right = _known(step, sides.left), _known(step, sides.right)
        _check_keys(step, sides)
        self.given = left if sides.is_left else right
        self.stream_key = sides.left.key if sides.is_left else sides.right.key
        self._key: Final = sides.left.key
        self.names: Final = _names(step, left, right, sides.right.key)
        """The names in the result by those on the right."""
        self._columns: Final = {_LEFT: left, _RIGHT: {n: right[o] for o, n in self.names.items()}}
        self._mine, self._other = (_LEFT, _RIGHT) if sides.is_left else (_RIGHT, _LEFT)
        self._within_ms: Final = duration_ms(step.within) or 0
        # "0s" is no duration that takes time
        self._open_ms: Final = self._within_ms + (duration_ms(step.allowed_lateness) or 0)
        # how: an inner join does not keep account of which left rows were paired
        meaning = {"step": "join", "within_ms": self._within_ms, "how": step.how}
        stamps = {_TIME: pl.Int64(), _OFFSET: pl.Int64(), _IS_PAIRED: pl.Boolean()}
        try:
            keys = {name: left[name] for name in sorted(self._key)}
            self._key_rows = StateRows(keys)
            # the time first: what is open now stands together in the store, and goes together
            self.keys = StateRows({_START: pl.Int64(), **keys})
            self.rows = StateRows(
                {
                    side: pl.List(pl.Struct({**stamps, _VALUES: pl.Struct(dict(values))}))
                    for side, values in self._columns.items()
                },
                keys=self.keys.columns,
                meaning=meaning,
            )
        except DeclarationError as error:
            raise refused(step, "INVALID_STEP", str(error.problems[0].message)) from error

    def columns(self, given: Columns) -> Columns:  # noqa: ARG002 - they are known already
        """Those of the left, and those that are added."""
        return {**self._columns[_LEFT], **self._columns[_RIGHT]}

    def stand_ins(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Each row as if it had found nothing."""
        mine = frame.select(ROW, pl.struct(self._own_values()).alias(self._mine))
        return self._unpacked(mine.with_columns(self._nothing(self._other)))

    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        """The pairs that the rows make, and the left rows that are over and found nothing."""
        refusals = [(~has_window(EVENT_TIME), Code.NO_EVENT_TIME, _NO_TIME)]
        if self.step.late == "dead-letter":
            refusals.append((self._is_late(), Code.LATE, _LATE))
        given = event_rows(frame, batch, [*self.given])
        sound, quarantined = sorted_out(self.step, given, refusals)
        rows = self._packed(sound.filter(~self._is_late()))
        told = [self._paired(rows.drop_nulls(_KEY), store)]
        if self.is_left and self.step.how == "left":
            without_key = rows.filter(pl.col(_KEY).is_null())
            told.append(without_key.select(_PLACE, ROW, pl.col(_VALUES).alias(_LEFT)))
        present = pl.concat(told, how="diagonal").sort(_PLACE, maintain_order=True)
        present = present.with_columns(pl.col(ROW).alias(_AT)).drop(_PLACE)
        rows_told = pl.concat([present, self._all_over(batch, store)], how="diagonal")
        # at one record: its pairs, then what its watermark ends
        ordered = self._unpacked(rows_told.sort(_AT, maintain_order=True))
        late = sound.height - rows.height
        return Processed(ordered, quarantined, {self.step.name: late} if late else {})

    def _is_late(self) -> pl.Expr:
        """Whether a row came when its own time was over."""
        return (pl.col(EVENT_TIME) + self._open_ms < pl.col(WATERMARK)).fill_null(value=False)

    def _own_values(self) -> list[pl.Expr]:
        """What comes of the rows of this side."""
        if self.is_left:
            return [pl.col(name) for name in self._columns[_LEFT]]
        return [pl.col(old).alias(new) for old, new in self.names.items()]

    def _nothing(self, side: str) -> pl.Expr:
        return pl.lit(None, dtype=pl.Struct(dict(self._columns[side]))).alias(side)

    def _packed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the key they are stored under, null where a part of it is null."""
        named = zip(self.stream_key, self._key, strict=True)
        keyed = rows.select(pl.col(mine).alias(name) for mine, name in named)
        has_key = keyed.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
        keys = pl.Series(self._key_rows.encode(keyed), dtype=pl.Binary)
        return rows.with_row_index(_PLACE).select(
            _PLACE,
            ROW,
            TASK,
            WATERMARK,
            pl.when(has_key).then(keys).alias(_KEY),
            keyed.to_struct(_KEYS),
            (pl.col(EVENT_TIME) // self._within_ms * self._within_ms).alias(_START),
            pl.col(EVENT_TIME).alias(_TIME),
            pl.col(OFFSET).alias(_OFFSET),
            pl.struct(self._own_values()).alias(_VALUES),
        )

    def _unpacked(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`_row` and the columns of both sides."""
        return rows.select(
            ROW,
            *(
                pl.col(side).struct.field(name)
                for side, columns in self._columns.items()
                for name in columns
            ),
        )

    # -- pairs -----------------------------------------------------------------------------------

    def _paired(self, rows: pl.DataFrame, store: KeyedRows) -> pl.DataFrame:
        """The pairs of rows with those stored of the other side, in order; the rows are stored."""
        beside = [
            rows.with_columns(pl.col(_START) + spans * self._within_ms) for spans in (-1, 0, 1)
        ]
        looking = pl.concat(beside)
        held = self._held(looking.select(*_PIECE, _KEYS), store)
        theirs = _listed(held, self._other, *_PIECE).rename(_THEIR).with_row_index(_SEAT)
        pairs = looking.join(theirs, on=_PIECE).filter(self._is_pair())
        pairs = pairs.sort(_PLACE, _THEIR[_TIME], _THEIR[_OFFSET], _SEAT)
        if rows.height:
            self._store(held, self._taken_in(rows, theirs, pairs), store)
        mine, other = (
            pl.col(name).alias(side)
            for name, side in ((_VALUES, self._mine), (_THEIR[_VALUES], self._other))
        )
        return pairs.select(_PLACE, ROW, mine, other)

    def _held(self, asked: pl.DataFrame, store: KeyedRows) -> pl.DataFrame:
        """What is stored of each piece that is asked for, once, with the key of the store."""
        pieces = asked.unique(_PIECE, maintain_order=True)
        by = pieces.select(_START, pl.col(_KEYS).struct.unnest())
        keys = pl.Series(_STORE_KEY, self.keys.encode(by), dtype=pl.Binary)
        stored = store.read(pieces[TASK], keys)
        return pl.concat([pieces.drop(_KEYS), keys.to_frame(), stored], how="horizontal")

    def _is_pair(self) -> pl.Expr:
        """Whether two rows of a key are near each other, and that of the other side is open."""
        is_near = (pl.col(_TIME) - pl.col(_THEIR[_TIME])).abs() <= self._within_ms
        is_over = pl.col(_THEIR[_TIME]) + self._open_ms < pl.col(WATERMARK)
        return is_near & ~is_over.fill_null(value=False)

    def _taken_in(
        self, rows: pl.DataFrame, theirs: pl.DataFrame, pairs: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """By piece the rows that are new, and those of the other side that are paired only now."""
        is_paired = _marked(pairs[_PLACE], rows[_PLACE])
        added = _lists(rows.with_columns(is_paired.alias(_IS_PAIRED)), _STORED)
        if self.is_left or self.step.how == "inner":
            theirs = theirs.clear()  # nobody asks whether a right row was paired
        was_paired = theirs[_THEIR[_IS_PAIRED]]
        is_now = was_paired | _marked(pairs[_SEAT], theirs[_SEAT])
        news = theirs.filter(is_now & ~was_paired).select(_PIECE).unique()
        changed = theirs.with_columns(is_now.alias(_THEIR[_IS_PAIRED]))
        changed = changed.join(news, on=_PIECE, how="semi", maintain_order="left")
        return added, _lists(changed, [*_THEIR.values()])

    def _store(
        self, held: pl.DataFrame, taken: tuple[pl.DataFrame, pl.DataFrame], store: KeyedRows
    ) -> None:
        """Write the pieces that have new rows, or rows that are paired only now."""
        added, changed = (
            lists.rename({_VALUES: name}) for lists, name in zip(taken, _TAKEN, strict=True)
        )
        found = held.join(added, on=_PIECE, how="left", maintain_order="left")
        found = found.join(changed, on=_PIECE, how="left", maintain_order="left")
        found = found.filter(pl.any_horizontal(pl.col(_TAKEN).is_not_null()))
        before = self._first_due(found)
        after = found.with_columns(
            pl.concat_list(pl.col(self._mine, _TAKEN[0]).fill_null([])).alias(self._mine),
            pl.coalesce(_TAKEN[1], self._other).alias(self._other),
        )
        store.write(after[TASK], after[_STORE_KEY], after)
        due = self._first_due(after)
        is_sooner = (due < before).fill_null(value=True)
        sooner = after.filter(is_sooner)
        store.schedule(sooner[TASK], sooner[_STORE_KEY], due.filter(is_sooner))

    # -- what is over ----------------------------------------------------------------------------

    def _all_over(self, batch: Batch, store: KeyedRows) -> pl.DataFrame:
        """The left rows that are over without a pair, by task, event time and offset.

        Each with the record that ended it; `batch.no_row` where none did.
        """
        marks = pl.DataFrame({TASK: batch.tasks, WATERMARK: batch.watermarks})
        marks = marks.with_columns(pl.int_range(pl.len(), dtype=ROW_TYPE).alias(_AT)).drop_nulls()
        last = {task: mark for task, mark, _ in marks.group_by(TASK).last().iter_rows()}
        reached: Mapping[int, int] = {**last, **batch.reached}
        found = [
            self._over(task, reached[task], marks.filter(pl.col(TASK) == task), store)
            for task in sorted(reached)
        ]
        over = pl.concat([self._no_rows(), *found])
        at, no_row = pl.col(_AT).fill_null(batch.no_row), pl.lit(batch.no_row, dtype=ROW_TYPE)
        return over.with_columns(at, no_row.alias(ROW), self._nothing(_RIGHT))

    def _no_rows(self) -> pl.DataFrame:
        return pl.DataFrame(schema={_AT: ROW_TYPE, _LEFT: pl.Struct(dict(self._columns[_LEFT]))})

    def _over(self, task: int, mark: int, marks: pl.DataFrame, store: KeyedRows) -> pl.DataFrame:
        """Delete the rows of a task that a watermark ends; those that are to be told."""
        keys = store.due(task, mark, lambda _, rows: self._first_due(rows))["key"]
        keys = keys.unique(maintain_order=True).alias(_STORE_KEY)
        tasks = pl.repeat(task, len(keys), dtype=pl.Int64, eager=True)
        held = pl.concat([keys.to_frame(), store.read(tasks, keys)], how="horizontal")
        is_over = pl.element().struct.field(_TIME) + self._open_ms < mark
        left = held.with_columns(pl.col(side).list.filter(~is_over) for side in self._columns)
        sizes = (pl.col(side).list.len().fill_null(0) for side in self._columns)
        has_rows = left.select(pl.sum_horizontal(*sizes) > 0).to_series()
        kept, gone = left.filter(has_rows), keys.filter(~has_rows)
        store.write(tasks.head(kept.height), kept[_STORE_KEY], kept)
        store.schedule(tasks.head(kept.height), kept[_STORE_KEY], self._first_due(kept))
        store.delete(tasks.head(len(gone)), gone)
        if self.step.how == "inner":
            return self._no_rows()
        alone = is_over & ~pl.element().struct.field(_IS_PAIRED)
        told = _listed(held.with_columns(pl.col(_LEFT).list.filter(alone)), _LEFT)
        told = told.sort(_TIME, _OFFSET, maintain_order=True)
        ends = marks[WATERMARK].search_sorted(told[_TIME] + self._open_ms, side="right")
        at = marks[_AT].extend_constant(None, 1).gather(ends)
        return told.select(at.alias(_AT), pl.col(_VALUES).alias(_LEFT))

    def _first_due(self, held: pl.DataFrame) -> pl.Series:
        """The watermark that ends the first row of each key."""
        time = pl.element().struct.field(_TIME)
        firsts = (pl.col(side).list.eval(time).list.min() for side in self._columns)
        return held.select(pl.min_horizontal(*firsts) + self._open_ms + 1).to_series()


def _listed(held: pl.DataFrame, side: str, *others: str) -> pl.DataFrame:
    """A row for each that a side holds, in their order."""
    lists = held.select(*others, side).filter(pl.col(side).list.len() > 0)
    return lists.explode(side).unnest(side)


def _lists(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Rows as a list for each piece, in `_values`."""
    stored = (pl.col(name).alias(old) for name, old in zip(names, _STORED, strict=True))
    return rows.group_by(_PIECE, maintain_order=True).agg(pl.struct(*stored).alias(_VALUES))


def _marked(those: pl.Series, places: pl.Series) -> pl.Series:
    """Which of the ascending `places` are among those. A mask: `is_in` costs a search for each."""
    if places.is_empty():
        return pl.Series(dtype=pl.Boolean)
    mask = pl.repeat(value=False, n=max(places[-1], those.max() or 0) + 1, eager=True)
    return mask.scatter(those.unique(), values=True).gather(places)


def _known(step: StreamJoin, side: Side) -> Columns:
    """The columns of a side. Raises DeclarationError."""
    if side.columns is None:
        text = "only data tells the columns of the steps before it; put it before them"
        raise refused(step, "UNKNOWN_COLUMNS", text)
    if ours := sorted(side.columns.keys() & _OURS):
        text = f"the name {ours[0]} is Headwater's own here; rename the column in a step before"
        raise refused(step, "RESERVED_NAME", text)
    return side.columns


def _check_keys(step: StreamJoin, sides: Sides) -> None:
    """Rows of one key are in one task on both sides. Raises DeclarationError."""
    keys = []
    for name, side in (("the flow", sides.left), (step.right.contract_name, sides.right)):
        columns = _known(step, side)
        if not side.key:
            text = f"the contract of {name} has no key; streams are joined on theirs"
            raise refused(step, "NOT_THE_KEY", text)
        if gone := [each for each in side.key if each not in columns]:
            raise refused(step, "UNKNOWN_COLUMN", unknown_column(gone[0], columns))
        keys.append([columns[each] for each in side.key])
    if keys[0] != keys[1]:
        left, right = (
            ", ".join(f"{each} ({kind})" for each, kind in zip(side.key, kinds, strict=True))
            for side, kinds in zip((sides.left, sides.right), keys, strict=True)
        )
        text = (
            f"the flow is keyed by {left}, {step.right.contract_name} by {right}; such keys never"
            " meet, put .rekey() before the join, on columns of the same types"
        )
        raise refused(step, "JOIN_MISFIT", text)


def _names(
    step: StreamJoin, left: Columns, right: Columns, key: tuple[str, ...]
) -> Mapping[str, str]:
    """The names in the result by those on the right. Raises DeclarationError."""
    named = step.columns
    names = {name: name for name in right if name not in key} if named is None else dict(named)
    source = step.right.contract_name
    if not names:
        text = f"{source} has no column beside its key to add; name one with columns="
        raise refused(step, "INVALID_STEP", text)
    for old, new in names.items():
        if old not in right:
            raise refused(step, "UNKNOWN_COLUMN", f"{source}: {unknown_column(old, right)}")
        if new in left:
            text = (
                f"{new} of {source} is a column here already; rename it, as"
                f' columns={{"{old}": "{source.rpartition(".")[2]}_{old}"}}'
            )
            raise refused(step, "COLUMN_CLASH", text)
    return names
