"""Carries the statistics of a table from commit to commit, each frozen at its cut."""

import uuid
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pyarrow as pa

from headwater.contract import Contract
from headwater.errors import DamagedError
from headwater.ports import Change, CommitRecord, Table, TableFile, UnreadableRecord
from headwater.snapshot.layout import Layout
from headwater.snapshot.statistics import TableStatistics, statistics
from headwater.snapshot.statistics_text import Parts, from_bytes, parts_from_bytes, to_bytes


class Freezing:
    """Statistics for the next commits of one writer.

    Those of the last commit are read when the first is asked for; where it has none, as in a table
    of an older release, or they cannot be read, they are made from every row of the table, whose
    columns stand as `layout` says. What a column holds is told under the name its field has now.
    """

    def __init__(self, table: Table, contract: Contract, layout: Layout | None = None) -> None:
        self._table = table
        self._contract = contract
        self._layout = layout or Layout(contract)
        self._last: TableStatistics | None = None

    def frozen(self, change: Change) -> Change:
        """The same change with statistics of the table as of its commit, named in its record.

        A change that takes files out has them made from all rows that are left. Of mode "latest",
        which replaces files from commit to commit, those of each file are kept beside them: what
        came of the same rows cannot be subtracted from a sketch, but all parts can be merged anew.
        The writer makes the commit, or asks no more: the next ones follow it. Raises DamagedError
        when rows must be read and cannot be.
        """
        if (record := change.record) is None:  # upkeep changes no row
            return change
        if record.mode == "latest":
            return self._frozen_parts(change, record)
        rows = [each.rows for each in change.files]
        if change.removed:
            found = statistics(chain(self._left(change.removed), rows), self._contract)
        else:
            before = self._last or self._before()
            found = before.merge(statistics(rows, self._contract))
        self._last = found.of_commit(record)
        return _named(change, record, to_bytes(self._last))

    def _frozen_parts(self, change: Change, record: CommitRecord) -> Change:
        known = self._known_parts()
        parts: dict[str, TableStatistics] = {}
        for file in self._table.files():
            if file.name not in change.removed:
                stem = Path(file.name).stem
                name = next((each for each in known if stem.startswith(f"{each}-")), stem)
                found = known.get(name)
                if found is None:
                    found = statistics(self._rows(file), self._contract)
                parts[name] = found
        for each in change.files:
            parts[each.name] = statistics([each.rows], self._contract)
        whole = statistics((), self._contract)
        for part in parts.values():
            whole = whole.merge(part)
        return _named(change, record, to_bytes(whole.of_commit(record), parts))

    def _known_parts(self) -> Parts:
        """Of the files that the last commit left."""
        commits = self._table.commits()
        content = None if not commits else self._content(commits[-1][1])
        try:
            return {} if content is None else parts_from_bytes(content)
        except DamagedError:  # the rows are the truth
            return {}

    def _rows(self, file: TableFile) -> Iterator[pa.Table]:
        for each in self._table.scan(file.name):
            yield self._layout.from_stored(pa.Table.from_batches([each]))

    def _left(self, removed: Collection[str]) -> Iterator[pa.Table]:
        """Rows of the files that stay."""
        for file in self._table.files():
            if file.name not in removed:
                yield from self._rows(file)

    def _before(self) -> TableStatistics:
        commits = self._table.commits()
        if not commits:
            return statistics((), self._contract)
        _, last = commits[-1]
        if isinstance(last, UnreadableRecord) or (stored := self._stored(last)) is None:
            return statistics(self._left(()), self._contract)
        now = {stored: name for name, stored in self._layout.stored_names.items()}
        then = {name: last.stored_names.get(name, name) for name in stored.columns}
        return stored.renamed({name: now.get(held, held) for name, held in then.items()})

    def _stored(self, last: CommitRecord | UnreadableRecord) -> TableStatistics | None:
        content = self._content(last)
        try:
            return None if content is None else from_bytes(content)
        except DamagedError:  # the rows are the truth; those of the next cut are made from them
            return None

    def _content(self, last: CommitRecord | UnreadableRecord) -> bytes | None:
        if isinstance(last, UnreadableRecord) or last.statistics is None:
            return None
        return self._table.statistics(last.statistics)


def _named(change: Change, record: CommitRecord, content: bytes) -> Change:
    # two writers of one range have one commit id, and must not share a file
    named = replace(record, statistics=f"{record.commit_id}-{uuid.uuid4().hex[:8]}")
    return replace(change, record=named, statistics=content)
