"""Carries the statistics of a table from commit to commit, each frozen at its cut."""

import uuid
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain

import pyarrow as pa

from headwater.contract import Contract
from headwater.errors import DamagedError
from headwater.ports import Change, CommitRecord, Table, UnreadableRecord
from headwater.snapshot.statistics import TableStatistics, statistics
from headwater.snapshot.statistics_text import from_bytes, to_bytes


class Freezing:
    """Statistics for the next commits of one writer.

    Those of the last commit are read when the first is asked for; where it has none, as in a table
    of an older release, or they cannot be read, they are made from every row of the table.
    """

    def __init__(self, table: Table, contract: Contract) -> None:
        self._table = table
        self._contract = contract
        self._last: TableStatistics | None = None

    def frozen(self, change: Change) -> Change:
        """The same change with statistics of the table as of its commit, named in its record.

        A change that takes files out, as `latest` does, has them made from all rows that are left.
        The writer makes the commit, or asks no more: the next ones follow it. Raises DamagedError
        when rows must be read and cannot be.
        """
        if (record := change.record) is None:  # upkeep changes no row
            return change
        rows = [each.rows for each in change.files]
        if change.removed:
            found = statistics(chain(self._left(change.removed), rows), self._contract)
        else:
            before = self._last or self._before()
            found = before.merge(statistics(rows, self._contract))
        self._last = found.of_commit(record)
        # two writers of one range have one commit id, and must not share a file
        named = replace(record, statistics=f"{record.commit_id}-{uuid.uuid4().hex[:8]}")
        return replace(change, record=named, statistics=to_bytes(self._last))

    def _left(self, removed: Collection[str]) -> Iterator[pa.Table]:
        """Rows of the files that stay."""
        for file in self._table.files():
            if file.name not in removed:
                yield from (pa.Table.from_batches([each]) for each in self._table.scan(file.name))

    def _before(self) -> TableStatistics:
        found = self._table.last_commit()
        if found is None:
            return statistics((), self._contract)
        _, last = found
        return self._stored(last) or statistics(self._left(()), self._contract)

    def _stored(self, last: CommitRecord | UnreadableRecord) -> TableStatistics | None:
        if isinstance(last, UnreadableRecord) or last.statistics is None:
            return None
        content = self._table.statistics(last.statistics)
        try:
            return None if content is None else from_bytes(content)
        except DamagedError:  # the rows are the truth; those of the next cut are made from them
            return None
