"""The rules of a contract over a snapshot: those of each row, and those over all rows together.

Reads the table file by file, so memory holds a batch, and eight bytes per row and rule that asks
for equality: the hashes of its fields.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl
import pyarrow as pa

from headwater.assembly.project import LoadedProduct
from headwater.assembly.references import newest_contract
from headwater.assembly.root import SCHEMAS
from headwater.assembly.table_formats import SnapshotTables
from headwater.contract import ROW, ROW_TYPE, Contract, Rules, Severity, from_arrow
from headwater.contract.dataset import (
    DatasetSeverity,
    References,
    RowCount,
    Unique,
    comparable,
    reference_mistakes,
)
from headwater.contract.tree import optional
from headwater.errors import DeclarationError, Problem, UnverifiableError
from headwater.model import Code
from headwater.ports import CommitRecord, Table
from headwater.snapshot.layout import Layout
from headwater.snapshot.place import PLACE

EXAMPLES: Final = 5  # rows named for each rule: enough to look them up
US_PER_MS: Final = 1_000

Progress = Callable[[int, int], None]
"""Told the rows looked at and their total."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one rule: rows that were asked, rows that broke it, and where some stand.

    `examples` are partition and offset in the log. A rule about the number of rows is broken by
    the table, not by a row of it: then `broken` is 1 and there are no examples.
    """

    rule: str
    check: str
    severity: str
    rows: int
    broken: int
    examples: Sequence[tuple[int, int]] = ()

    @property
    def is_failed(self) -> bool:
        """Whether the data are not what the contract says; a warning is no failure."""
        return self.broken > 0 and self.severity != DatasetSeverity.WARN


@dataclass(slots=True)
class _Count:
    """Rows that broke one rule so far."""

    broken: int = 0
    examples: list[tuple[int, int]] = field(default_factory=list)

    def add(self, places: pl.DataFrame) -> None:
        """Add rows by their `_partition` and `_offset`."""
        self.broken += places.height
        left = EXAMPLES - len(self.examples)
        self.examples += places.select("_partition", "_offset").head(left).rows()


OpenTable = Callable[[str], Table]
"""The snapshot table of a topic."""


class DataCheck:
    """Asks the rules of one contract about the newest version of its snapshot table.

    `contract_of` gives the newest contract of a topic that is referred to.
    """

    def __init__(
        self, contract: Contract, open_table: OpenTable, contract_of: Callable[[str], Contract]
    ) -> None:
        self._contract = contract
        self._open_table = open_table
        self._contract_of = contract_of
        self._rules = Rules(contract)
        self._uniques = [each for each in contract.dataset if isinstance(each, Unique)]
        self._references = [each for each in contract.dataset if isinstance(each, References)]
        self._row_counts = [each for each in contract.dataset if isinstance(each, RowCount)]
        self._found: dict[str, _Count] = {}
        self._hashes: dict[str, list[pl.Series]] = {}

    def run(self, progress: Progress = lambda _done, _total: None) -> list[Checked]:
        """Every rule of the contract in its order, and what of every contract's was broken.

        Raises UnverifiableError (NO_SNAPSHOT) when there is no table to look at, this one or one
        that is referred to, or when its columns are not the contract's; DeclarationError when a
        reference cannot be; DamagedError when a file cannot be read.
        """
        table = self._table(self._contract)
        known = {rule.name: self._keys(rule) for rule in self._references}
        rows = 0
        for batch in _batches(table, self._contract, progress):
            rows += batch.height
            self._look_at(batch, known)
        self._look_for_twins(table)
        return self._outcome(rows)

    def _table(self, contract: Contract) -> Table:
        table = self._open_table(contract.topic)
        if not table.files():
            raise UnverifiableError(
                f"There is no snapshot of {contract.topic} in {table.location}; take one with"
                " headwater snapshot, then check it.",
                code="NO_SNAPSHOT",
            )
        return table

    def _look_at(self, batch: pl.DataFrame, known: Mapping[str, pl.Series]) -> None:
        """Rules of each row, references, and the hashes for what must be unique."""
        published = batch["_timestamp"].dt.epoch("us") // US_PER_MS
        broken = self._rules.broken(batch, published)
        for violation in broken.violations:
            self._count(violation.rule.name).add(batch[list(violation.rows)])
        for code in (Code.NON_FINITE, Code.FUTURE_EVENT):
            rows = [each.row for each in broken.quarantined if each.code is code]
            if rows:
                self._count(code).add(batch[rows])
        for reference in self._references:
            asked = _hashed(batch, reference.fields)
            strange = ~asked["hash"].is_in(known[reference.name].implode())
            self._count(reference.name).add(batch[asked["row"].filter(strange)])
        for unique in self._uniques:
            asked = _hashed(batch, unique.fields)
            self._hashes.setdefault(unique.name, []).append(asked["hash"])

    def _look_for_twins(self, table: Table) -> None:
        """Rows whose hashes stand there twice are read again and compared by their values."""
        twice = {name: _repeated(pl.concat(parts)) for name, parts in self._hashes.items()}
        self._hashes.clear()
        suspects: dict[str, list[pl.DataFrame]] = {}
        wanted = [each for each in self._uniques if len(twice.get(each.name, ()))]
        for batch in _batches(table, self._contract) if wanted else ():
            for unique in wanted:
                asked = _hashed(batch, unique.fields)
                rows = asked["row"].filter(asked["hash"].is_in(twice[unique.name].implode()))
                kept = batch[rows].select(*unique.fields, "_partition", "_offset")
                suspects.setdefault(unique.name, []).append(kept)
        for unique in wanted:
            found = pl.concat(suspects[unique.name])
            twins = found.filter(pl.struct(unique.fields).is_duplicated())
            self._count(unique.name).add(twins.sort(*unique.fields, "_partition", "_offset"))

    def _keys(self, rule: References) -> pl.Series:
        """The hashes of the keys that a rule refers to."""
        other = self._contract_of(rule.topic)
        mistakes = list(reference_mistakes(rule, self._contract.columns, other.columns))
        if mistakes:
            file = str(self._contract.path)
            raise DeclarationError([Problem("BAD_RULE", each, file) for each in mistakes])
        batches = _batches(self._table(other), other)
        return pl.concat(_hashed(batch, rule.to)["hash"].unique() for batch in batches).unique()

    def _count(self, rule: str) -> _Count:
        return self._found.setdefault(rule, _Count())

    def _outcome(self, rows: int) -> list[Checked]:
        checks = [
            *((each.name, each.expression, each.severity) for each in self._contract.rules),
            *((each.name, str(each), each.severity) for each in self._uniques),
            *((each.name, str(each), each.severity) for each in self._references),
            *(
                (code, "asked of every contract", Severity.REJECT)
                for code in (Code.NON_FINITE, Code.FUTURE_EVENT)
                if code in self._found
            ),
        ]
        found = [
            Checked(name, check, severity, rows, count.broken, count.examples)
            for name, check, severity in checks
            for count in [self._count(name)]
        ]
        found += [
            Checked(each.name, str(each), each.severity, rows, int(not each.holds(rows)))
            for each in self._row_counts
        ]
        return found


def _batches(
    table: Table, contract: Contract, progress: Progress = lambda _done, _total: None
) -> Iterator[pl.DataFrame]:
    """The rows of a table in the types of the contract, with their place and `_row`."""
    total, done = table.rows(), 0
    records = [each for _, each in table.commits() if isinstance(each, CommitRecord)]
    layout = Layout(contract, records[-1].stored_names if records else {})
    for file in sorted(table.files(), key=lambda each: each.name):
        for batch in table.scan(file.name):
            yield _typed(pa.Table.from_batches([batch]), layout, table.location)
            done += batch.num_rows
            progress(done, total)


def _typed(rows: pa.Table, layout: Layout, location: str) -> pl.DataFrame:
    contract = layout.contract
    missing = [name for name in layout.columns.names if name not in rows.column_names]
    if missing:
        raise UnverifiableError(
            f"The snapshot of {contract.topic} in {location} has no {', '.join(missing)}; take one"
            " of what was published under this contract first.",
            code="SNAPSHOT_COLUMNS",
        )
    stored = layout.from_stored(rows).select([*contract.columns, *PLACE.names])
    frame = from_arrow(stored, contract)
    # null where the contract has no null: the row is older than the column
    news = {
        each.name: contract.defaults[each.name]
        for each in contract.record.fields
        if each.name in contract.defaults and optional(each.type) is None
    }
    return frame.with_columns(
        *(
            pl.col(name).fill_null(value.first())
            for name, value in news.items()
            if frame[name].null_count()
        ),
        pl.int_range(frame.height, dtype=ROW_TYPE).alias(ROW),
    )


def _hashed(batch: pl.DataFrame, fields: Sequence[str]) -> pl.DataFrame:
    """`hash` of the values of these fields, and `row`, of the rows where none is null."""
    columns = [
        pl.col(name).cast(comparable(batch[name].dtype)).alias(str(place))
        for place, name in enumerate(fields)
    ]
    sound = batch.select(pl.int_range(pl.len()).alias("row"), *columns).drop_nulls()
    return sound.select(pl.struct(pl.exclude("row")).hash(seed=0).alias("hash"), "row")


def _repeated(hashes: pl.Series) -> pl.Series:
    return hashes.filter(hashes.is_duplicated()).unique()


def data_checks(loaded: LoadedProduct, tables: SnapshotTables) -> Iterator[tuple[str, DataCheck]]:
    """A check for each output of a product, by topic."""

    def contract_of(topic: str) -> Contract:
        return newest_contract(loaded.root / SCHEMAS, topic)

    for topic, contract in loaded.outputs.items():
        yield topic, DataCheck(contract, tables.open, contract_of)
