"""Pins on the snapshots of a product: cuts that upkeep leaves alone. Needs no broker."""

from collections.abc import Iterator

from headwater.assembly.project import LoadedProduct
from headwater.assembly.table_formats import SnapshotTables
from headwater.config import Settings
from headwater.errors import UnverifiableError
from headwater.ports import Table
from headwater.snapshot.history import commit_at


def tables_of(
    loaded: LoadedProduct, settings: Settings, location: str | None = None
) -> Iterator[tuple[str, Table]]:
    """The table of each output of a product, by topic, in whatever format it is.

    `location` holds the tables, by default that of the settings. Raises what `SnapshotTables.open`
    does.
    """
    tables = SnapshotTables.of(settings, loaded.name, location)
    for topic in loaded.outputs:
        yield topic, tables.open(topic)


def pin(table: Table, name: str, at: str | None = None) -> int:
    """Keep a cut readable until `unpin`, by default the newest; returns its table version.

    Raises what `commit_at` does, DamagedError (FILE_GONE) for one that is not kept any more, and
    RetriableError (SNAPSHOT_BUSY) while upkeep is under way.
    """
    version, _ = commit_at(table, at)
    table.pin(name, version)
    return version


def unpin(table: Table, name: str) -> None:
    """Let upkeep have a pinned cut. Raises UnverifiableError (NO_PIN) when there is none."""
    if not table.unpin(name):
        known = ", ".join(table.pins()) or "none"
        raise UnverifiableError(
            f"The snapshot in {table.location} has no pin {name}; its pins: {known}.", code="NO_PIN"
        )
