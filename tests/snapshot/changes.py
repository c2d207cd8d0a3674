"""Changes of tables, in a few words."""

import pyarrow as pa
import pyarrow.compute as pc

from headwater.ports import Change, CommitRecord, NewFile, Table


def change(rows: pa.Table, record: CommitRecord) -> Change:
    """The rows of each range that has some, in a file of their own."""
    files = [
        NewFile(
            f"part-{each.partition}-{each.start}-{each.end}",
            rows.filter(pc.field("_partition") == each.partition),
        )
        for each in record.ranges
        if each.rows
    ]
    return Change(files, record)


def columns_of(table: Table) -> pa.Schema:
    """Those of a table that has some."""
    found = table.columns()
    assert found is not None
    return found
