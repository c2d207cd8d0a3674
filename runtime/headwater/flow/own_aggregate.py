"""An author's own aggregate: expressions that make states of rows, merge them, give the result.

They are tried without rows when they are declared, and proven on real ones as these come: however
the rows are batched, the states must be the same to the last bit (promise 4).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

import polars as pl

from headwater.errors import DeclarationError, Problem, ResultRefusedError
from headwater.flow.blame import FAULTS, INTERRUPTIONS
from headwater.flow.parts import Part
from headwater.flow.stage import MAX_ROWS, Columns, as_columns, instance
from headwater.product.aggregates import OwnAggregate

_NARROW: Final = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
_GROUP: Final = "_group"
_OWN: Final = "_own"
_DEPENDENT: Final = "BATCH_DEPENDENT"
_PLACE: Final = "_place"  # makes what is computed as high as its rows, literals too


class Own:
    """An author's aggregate of rows that have these columns.

    Raises DeclarationError (AGGREGATE) when its expressions fail on them, or merge states to such
    of another type.
    """

    def __init__(self, name: str, declared: OwnAggregate, columns: Columns) -> None:
        self.of = name
        self._name, self._declared, self._columns = name, declared, columns
        self._proven = 0
        states = _widened(self._tried("state", pl.DataFrame(schema=columns), declared.state))
        merged = self._merged_in_trial(states)
        for part, kind in states.schema.items():
            if merged.schema[part] != kind:
                text = f"merging {part} of {kind} gives {merged.schema[part]}"
                raise self._refused(f"{text}; merge it to one value of its type")
        self.parts: Final = tuple(
            # no part of a column of this name is called so
            Part(f"{part}{_OWN}", instance(kind), "apart")
            for part, kind in states.schema.items()
        )
        result = self._tried("result", merged, {name: declared.result})
        self.type: Final = instance(result.schema[name])

    def beyond(self) -> pl.Expr:
        """No row is."""
        return pl.lit(value=False)

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """The states of single rows. Raises what the author's expressions raise.

        And DeclarationError (BATCH_DEPENDENT) when the states of the first rows, or of twice as
        many as ever before, depend on how these are batched.
        """
        given = rows.select(name for name in self._columns if name in rows.columns)
        states = self._states(given)
        if self._proven < MAX_ROWS and given.height >= 2 * self._proven:
            self._prove(given.head(MAX_ROWS), states.head(MAX_ROWS))
            self._proven = given.height
        return states.get_columns()

    def merge(self, groups: pl.Series, parts: list[pl.Series]) -> list[pl.Series]:
        """The merged states of groups.

        Raises ResultRefusedError (AGGREGATE_FAILED) when the author's expressions raise.
        """
        with self._blamed("merge"):
            return self._merged(groups, self._states_of(parts)).get_columns()

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The results of states.

        Raises ResultRefusedError (AGGREGATE_FAILED) when the author's expression raises.
        """
        with self._blamed("result"):
            states = self._states_of(parts)
            return _computed(states, {self._name: self._declared.result}).to_series()

    @contextmanager
    def _blamed(self, what: str) -> Iterator[None]:
        """What the author's expressions raise on states, of which no single row is to blame."""
        try:
            yield
        except INTERRUPTIONS:
            raise
        except FAULTS as error:
            # not `from error`: its text may hold a payload
            raise ResultRefusedError(
                f"{self._name}: {what} raised {type(error).__name__}; mend the expression, for "
                "the states it is of come again.",
                code="AGGREGATE_FAILED",
            ) from None

    def _states_of(self, parts: list[pl.Series]) -> pl.DataFrame:
        names = [each.name.removesuffix(_OWN) for each in self.parts]
        return pl.DataFrame(dict(zip(names, parts, strict=True)))

    def _states(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The state of each row alone."""
        return _widened(as_columns(lambda given: _computed(given, self._declared.state), rows))

    def _merged(self, groups: pl.Series, states: pl.DataFrame) -> pl.DataFrame:
        """One state per group, in the order of the groups' first states."""
        grouped = states.with_columns(groups.alias(_GROUP)).group_by(_GROUP, maintain_order=True)
        return grouped.agg(**self._declared.merge).drop(_GROUP)

    def _prove(self, rows: pl.DataFrame, states: pl.DataFrame) -> None:
        """Compare with other batches: the first row, the rest of the first half, the second."""
        pairs = pairwise(sorted({0, 1, rows.height // 2, rows.height}))
        pieces = [rows.slice(start, end - start) for start, end in pairs]
        cut = pl.concat([self._states(piece) for piece in pieces])
        if not cut.equals(states):
            raise self._refused("state looks at other rows; make it of each alone", _DEPENDENT)
        if not self._as_one(states).equals(self._as_one(states.reverse())):
            text = "merging in another order gives another state; take what has no order"
            raise self._refused(text, _DEPENDENT)
        partial = pl.concat([self._as_one(self._states(piece)) for piece in pieces])
        if not self._as_one(partial).equals(self._as_one(states)):
            text = "merging part by part gives another state; add up whole numbers, not doubles"
            raise self._refused(text, _DEPENDENT)

    def _as_one(self, states: pl.DataFrame) -> pl.DataFrame:
        """All states as of one group: what may be merged in any way."""
        return self._merged(pl.zeros(states.height, dtype=pl.Int64, eager=True), states)

    def _merged_in_trial(self, states: pl.DataFrame) -> pl.DataFrame:
        """Merged states without rows, in their types."""
        try:
            return self._as_one(states)
        except INTERRUPTIONS:
            raise
        except FAULTS as error:
            raise self._refused(f"merge: {_words(error)}") from error

    def _tried(
        self, what: str, rows: pl.DataFrame, expressions: Mapping[str, pl.Expr]
    ) -> pl.DataFrame:
        """What the expressions make of no rows."""
        try:
            return _computed(rows, expressions)
        except INTERRUPTIONS:
            raise
        except FAULTS as error:
            raise self._refused(f"{what}: {_words(error)}") from error

    def _refused(self, text: str, code: str = "AGGREGATE") -> DeclarationError:
        return DeclarationError([Problem(code, f"{self._name}: {text}")])


def _computed(rows: pl.DataFrame, expressions: Mapping[str, pl.Expr]) -> pl.DataFrame:
    places = pl.int_range(rows.height, eager=True).alias(_PLACE)
    return rows.select(places, **expressions).drop(_PLACE)


def _widened(states: pl.DataFrame) -> pl.DataFrame:
    """Whole numbers as Int64: the sum of narrower ones wraps around in silence."""
    return states.cast({narrow: pl.Int64() for narrow in _NARROW})


def _words(error: BaseException) -> str:
    """An error on no rows, which holds no payload, in a line."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
