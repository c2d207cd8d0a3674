"""Puts rows of a contract into a table that may hold those of older versions.

The table gets the columns that it lacks in the commit of the first rows that have them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pyarrow as pa

from headwater.contract import Translation, from_arrow, to_arrow
from headwater.ports import Change, CommitRecord, Table
from headwater.snapshot.columns import refused
from headwater.snapshot.layout import Layout
from headwater.snapshot.place import PLACE
from headwater.snapshot.rows import RowCodec


@dataclass(frozen=True, slots=True)
class Evolving:
    """One writer's view of its table: `columns` are those it has from the next commit on.

    `before` is where the columns of the newest commit stand; None before the first.
    """

    table: Table
    codec: RowCodec
    columns: pa.Schema
    before: Layout | None

    @property
    def layout(self) -> Layout:
        """Where the table has the contract's columns."""
        return self.codec.layout

    @classmethod
    def of(cls, table: Table, codec: RowCodec) -> "Evolving":
        """Find the place of every column. Writes nothing.

        Raises StartRefusedError (SNAPSHOT_COLUMNS) when the table cannot take the contract's,
        UnknownSchemaError or DeclarationError when the registry does not know the contract of the
        newest commit any more.
        """
        commits = [each for _, each in table.commits() if isinstance(each, CommitRecord)]
        before = None
        if commits:
            before = _layout(commits[-1], codec)
            codec = codec.laid_out(_next_layout(commits, before, codec).stored_names)
        if twice := codec.layout.shared_names():
            raise refused(table.location, f"{', '.join(twice)} would hold two fields")
        return cls(table, codec, table.evolved(codec.layout.columns), before)

    def change(self, change: Change) -> Change:
        """A change whose files have the contract's columns, as the table takes it."""
        files = [replace(each, rows=self.stored(each.rows)) for each in change.files]
        return replace(change, files=files, columns=self.news())

    def news(self) -> pa.Schema | None:
        """The columns of the table, if it does not have them all yet."""
        held = self.table.columns()
        return None if held is None or held.equals(self.columns) else self.columns

    def carried(self, rows: pa.Table) -> pa.Table:
        """Rows of the table, taken under the newest commit's schema, as rows of the contract.

        They have the columns from this commit on; what the contract dropped is what it was. Raises
        StartRefusedError (SNAPSHOT_COLUMNS) for rows that the contract cannot read.
        """
        before, after = self.before, self.layout
        if before is None or before.holds_as(after):
            return rows
        translation = Translation(before.contract, after.contract)
        reasons = translation.reasons
        if not reasons:
            columns = before.from_stored(rows).select([*before.contract.columns])
            frame, bad = translation.translate(from_arrow(columns, before.contract))
            reasons = [each.message for each in bad[:1]]
        if reasons:
            raise refused(self.table.location, f"stored rows: {'; '.join(reasons)}")
        made = to_arrow(frame, after.contract)
        for each in PLACE:
            made = made.append_column(each, rows[each.name].cast(each.type))
        return after.to_stored(made, self.columns, beneath=rows)

    def stored(self, rows: pa.Table) -> pa.Table:
        """Rows of the contract as the table has them; without a change, what they were."""
        layout = self.codec.layout
        if self.columns.names == rows.schema.names and layout.is_as_stored(self.columns):
            return rows
        return layout.to_stored(rows, self.columns)


def _layout(record: CommitRecord, codec: RowCodec) -> Layout:
    if record.schema_id == codec.schema_id:
        return Layout(codec.contract, record.stored_names)
    return Layout(codec.contract_of(record.schema_id), record.stored_names)


def _next_layout(commits: Iterable[CommitRecord], before: Layout, codec: RowCodec) -> Layout:
    """As it was whenever rows were taken under the same schema: a schema has one layout."""
    for each in reversed(list(commits)):
        if each.schema_id == codec.schema_id:
            return Layout(codec.contract, each.stored_names)
    return before.of_next(codec.contract)
