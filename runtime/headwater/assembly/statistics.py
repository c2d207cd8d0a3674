"""The statistics of a product's snapshots at a cut, read without their data or a broker."""

from collections.abc import Iterator
from dataclasses import dataclass

from headwater.assembly.project import LoadedProduct
from headwater.assembly.table_formats import SnapshotTables
from headwater.errors import UnverifiableError
from headwater.ports import Table
from headwater.snapshot.history import commit_at
from headwater.snapshot.statistics import TableStatistics
from headwater.snapshot.statistics_text import from_bytes


@dataclass(frozen=True, slots=True)
class StatisticsAt:
    """Statistics, and the table version whose commit they are of."""

    version: int
    table: TableStatistics


class StatisticsReader:
    """Reads the statistics of one table. Sees commits and statistics, never a row."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self, at: str | None = None) -> StatisticsAt:
        """Those of a cut, as `commit_at` finds it.

        Raises ConfigurationError (BAD_CUT), UnverifiableError (NO_SNAPSHOT, NO_CUT, and
        NO_STATISTICS where that commit kept none), DamagedError (STATISTICS_DAMAGED,
        STATISTICS_FORMAT).
        """
        version, record = commit_at(self._table, at)
        name = record.statistics
        content = None if name is None else self._table.statistics(name)
        if content is None:
            raise UnverifiableError(
                f"Version {version} of the snapshot in {self._table.location} has no statistics:"
                f" an older release took it, or their file is gone. The next snapshot makes them"
                f" anew.",
                code="NO_STATISTICS",
            )
        return StatisticsAt(version, from_bytes(content))


def statistics_readers(
    loaded: LoadedProduct, tables: SnapshotTables
) -> Iterator[tuple[str, StatisticsReader]]:
    """One for each output of a product, by topic."""
    for topic in loaded.outputs:
        yield topic, StatisticsReader(tables.open(topic))
