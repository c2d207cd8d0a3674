"""Statistics of a table as of a cut: made from its rows, kept beside its data, read without it.

They are not a function of the rows to the last bit, because the sketches toss coins: nothing is
computed from them that is published as a fact.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl
import pyarrow as pa

from headwater.contract import Contract, arrow_schema
from headwater.ports import CommitRecord
from headwater.snapshot.column_statistics import ColumnStatistics, add, empty, plain
from headwater.snapshot.sketches import Distinct

SLICE_ROWS: Final = 131_072  # counted at once: more costs more where most values differ


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """Every column in the contract's order, and the identities.

    `key` names the fields of the key and `identities` are its distinct values: those of the column
    where it is one, of all fields together where it is several. They are values, not the bytes of
    the log, which differ between products for the same identity: composite keys begin with a schema
    id, an int is shorter than a long. None without a key, and where a field of it is secret.
    `commit_id`, `committed_at_ms` and `cut` (next offsets by partition) are those of the commit.
    """

    topic: str
    rows: int
    columns: Mapping[str, ColumnStatistics]
    key: tuple[str, ...] = ()
    identities: Distinct | None = None
    commit_id: str = ""
    committed_at_ms: int = 0
    cut: Mapping[int, int] = field(default_factory=dict)

    def merge(self, later: "TableStatistics") -> "TableStatistics":
        """Of the rows of both. A column that only one of them has is null in the other's rows."""
        return replace(
            later,
            rows=self.rows + later.rows,
            columns=_merged(self, later),
            identities=None
            if self.key != later.key or self.identities is None or later.identities is None
            else self.identities.merge(later.identities),
        )

    def renamed(self, names: Mapping[str, str]) -> "TableStatistics":
        """The same with columns under these names, as after fields were renamed."""
        columns = {
            names.get(name, name): replace(each, name=names.get(name, name))
            for name, each in self.columns.items()
        }
        key = tuple(names.get(name, name) for name in self.key)
        return replace(self, columns=columns, key=key)

    def of_commit(self, record: CommitRecord) -> "TableStatistics":
        """As of a commit."""
        return replace(
            self,
            commit_id=record.commit_id,
            committed_at_ms=record.committed_at_ms,
            cut={taken.partition: taken.end for taken in record.ranges},
        )


def _merged(one: TableStatistics, later: TableStatistics) -> dict[str, ColumnStatistics]:
    """The columns of both, in the order of the later; what only the earlier has comes last."""
    earlier = {name: each.all_null(one.rows) for name, each in later.columns.items()}
    earlier.update(one.columns)
    news = {name: each.all_null(later.rows) for name, each in one.columns.items()}
    news.update(later.columns)
    return {name: each.merge(news[name]) for name, each in earlier.items()}


def statistics(rows: Iterable[pa.Table], contract: Contract) -> TableStatistics:
    """Of rows that have the contract's columns; others are not looked at."""
    sensitivities = dict(contract.sensitivity)
    columns = {each.name: empty(each, sensitivities) for each in contract.record.fields}
    schema = arrow_schema(contract)
    is_secret = any(columns[name].sensitivity == "secret" for name in contract.key)
    composite = Distinct() if len(contract.key) > 1 and not is_secret else None
    count = 0
    for stored in _batches(rows, schema):
        count += stored.num_rows
        for name, column in columns.items():
            columns[name] = add(column, stored[name])
        if composite is not None:
            composite.add(_together(stored.select(list(contract.key)), columns))
    only = columns[contract.key[0]].distinct if len(contract.key) == 1 else None
    return TableStatistics(
        topic=contract.topic,
        rows=count,
        columns=columns,
        key=contract.key,
        identities=only if composite is None else composite,
    )


def _columns(rows: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Rows in the types of a contract; what they do not have is null."""
    arrays = [
        rows[each.name].cast(each.type)
        if each.name in rows.column_names
        else pa.chunked_array([pa.nulls(rows.num_rows, each.type)])
        for each in wanted
    ]
    return pa.Table.from_arrays(arrays, schema=wanted)


def _batches(rows: Iterable[pa.Table], wanted: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in the types of a contract, small tables together, up to SLICE_ROWS at once."""
    held: list[pa.Table] = []
    for table in rows:
        for start in range(0, table.num_rows, SLICE_ROWS):
            part = _columns(table.slice(start, SLICE_ROWS), wanted)
            if held and sum(each.num_rows for each in held) + part.num_rows > SLICE_ROWS:
                yield pa.concat_tables(held)
                held = []
            held.append(part)
    if held:
        yield pa.concat_tables(held)


def _together(key: pa.Table, columns: Mapping[str, ColumnStatistics]) -> pl.Series:
    """Each key of several fields as one text, whose parts cannot run into each other."""
    parts = [
        plain(pl.Series(key[name]), columns[name].kind).cast(pl.String).alias(name)
        for name in key.column_names
    ]
    sized = [part for text in parts for part in (text.str.len_bytes().cast(pl.String), text)]
    return pl.select(pl.concat_str(sized, separator=":")).to_series().unique()
