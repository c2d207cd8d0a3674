"""Carries the statistics of a table from commit to commit, each frozen at its cut."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

from headwater.contract import Contract
from headwater.errors import DamagedError
from headwater.ports import CommitRecord, NewFile, Table, UnreadableRecord
from headwater.snapshot.statistics import TableStatistics, statistics, statistics_of
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

    def frozen(self, files: Sequence[NewFile], record: CommitRecord) -> tuple[CommitRecord, bytes]:
        """The record of a commit that adds these files, with the name of its statistics, and them.

        The writer makes that commit, or asks no more: the next ones follow it. Raises DamagedError
        when rows must be read and cannot be.
        """
        before = self._before() if self._last is None else self._last
        news = statistics((each.rows for each in files), self._contract)
        self._last = before.merge(news).of_commit(record)
        # two writers of one range have one commit id, and must not share a file
        name = f"{record.commit_id}-{uuid.uuid4().hex[:8]}"
        return replace(record, statistics=name), to_bytes(self._last)

    def _before(self) -> TableStatistics:
        commits = self._table.commits()
        if not commits:
            return statistics((), self._contract)
        _, last = commits[-1]
        return self._stored(last) or statistics_of(self._table, self._contract)

    def _stored(self, last: CommitRecord | UnreadableRecord) -> TableStatistics | None:
        if isinstance(last, UnreadableRecord) or last.statistics is None:
            return None
        content = self._table.statistics(last.statistics)
        try:
            return None if content is None else from_bytes(content)
        except DamagedError:  # the rows are the truth; those of the next cut are made from them
            return None
