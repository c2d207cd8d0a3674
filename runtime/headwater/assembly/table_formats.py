"""Snapshot tables by their format: as a product declares it, and as it stands in a place.

No library of a format is loaded before a table of it is opened.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.tables.files import TableFiles
from headwater.config import Settings, is_bucket, parse_location
from headwater.errors import ConfigurationError, Problem, StartRefusedError
from headwater.ports import Table
from headwater.snapshot.refusals import place_of, storage_refuses

OWN_CATALOGUE: Final = "catalog.db"  # beside a table of Iceberg that no shared catalogue knows
MARKS: Final[Mapping[str, tuple[str, ...]]] = {
    "delta": ("_delta_log",),
    "iceberg": (OWN_CATALOGUE, "metadata"),
    "parquet": ("manifest",),
}
"""What stands in the place of a table of each format, and of no other."""

DEFAULT: Final = "delta"  # what a place without a table is opened as; as declarations have it


@dataclass(frozen=True, slots=True)
class SnapshotTables:
    """The snapshot tables of a product: `<location>/<topic>` each.

    `location` is a directory or `s3://bucket/prefix`.

    `catalogue` is the URL of the Iceberg catalogue that tables are registered in; empty where each
    has one of its own.
    """

    location: str
    product: str
    catalogue: str = field(default="", repr=False)  # may hold a password

    @classmethod
    def of(cls, settings: Settings, product: str, location: str | None = None) -> "SnapshotTables":
        """Those of the settings; in another location where one is given.

        Raises ConfigurationError (BAD_VALUE) for one that cannot be.
        """
        place = settings.snapshots if location is None else location
        try:
            parse_location(place)
        except ValueError as error:
            problem = Problem("BAD_VALUE", f"snapshots cannot be kept in {place}: {error}")
            raise ConfigurationError([problem]) from error
        return cls(place, product, settings.iceberg_catalogue.get_secret_value())

    def open(self, topic: str) -> Table:
        """The table of a topic in whatever format it is; one without versions where there is none.

        Raises StartRefusedError (NOT_OUR_TABLE), ConfigurationError (NOT_INSTALLED, NO_CATALOGUE),
        RetriableError (SNAPSHOT_STORAGE) when the storage refuses, without credentials too, and
        what the tables of its format raise.
        """
        return self.open_at(self.place(topic), topic)

    def open_at(self, place: str, topic: str) -> Table:
        """The table of a topic that stands in a place of its own; raises as `open` does."""
        files = _files(place)
        found = _standing(files, topic)
        try:
            return self._opened(files, topic, found or DEFAULT)
        except StartRefusedError:
            if found or (begun := _standing(files, topic)) is None:
                raise
            return self._opened(files, topic, begun)  # one was begun since

    def open_as(self, topic: str, form: str) -> Table:
        """The table of a topic to be written in a declared format.

        Also raises StartRefusedError: ANOTHER_FORMAT where one of another format stands, and
        ANOTHER_CATALOGUE where one stands whose catalogue is not the one that is set.
        """
        files = _files(self.place(topic))
        found = _standing(files, topic)
        if found not in {None, form}:
            raise StartRefusedError(
                f"The snapshot of {topic} in {files.location} is of format {found}, and the product"
                f" declares format={form!r}; nothing was written. Declare format={found!r}, or"
                f" begin a new snapshot of the whole log in another place with --to.",
                code="ANOTHER_FORMAT",
            )
        if form == "iceberg" and self.catalogue and _holds(files, OWN_CATALOGUE):
            raise StartRefusedError(
                f"The snapshot of {topic} in {files.location} has a catalogue of its own,"
                f" {OWN_CATALOGUE}, and the setting iceberg_catalogue names another; nothing was"
                f" written. Take the setting out, or begin a new snapshot of the whole log in"
                f" another directory with --to.",
                code="ANOTHER_CATALOGUE",
            )
        return self._opened(files, topic, form)

    def place(self, topic: str) -> str:
        """Where the table of a topic is, if there is one."""
        if is_bucket(self.location):
            return f"{self.location.rstrip('/')}/{topic}"
        return str((Path(self.location) / topic).absolute())

    def _opened(self, files: TableFiles, topic: str, form: str) -> Table:
        openers: Mapping[str, Callable[[TableFiles, str], Table]] = {
            "delta": self._delta,
            "iceberg": self._iceberg,
            "parquet": self._parquet,
        }
        return openers[form](files, topic)

    def _delta(self, files: TableFiles, topic: str) -> Table:
        from headwater.adapters.delta.table import DeltaSnapshotTable  # noqa: PLC0415  # loads deltalake

        return DeltaSnapshotTable(files, product=self.product, topic=topic)

    def _iceberg(self, files: TableFiles, topic: str) -> Table:
        catalogue = self._catalogue(files, topic)
        with _extra("iceberg"):
            from headwater.adapters.iceberg.table import (  # noqa: PLC0415  # loads pyiceberg
                IcebergSnapshotTable,
            )

            return IcebergSnapshotTable(
                files, product=self.product, topic=topic, catalogue=catalogue
            )

    def _catalogue(self, files: TableFiles, topic: str) -> str:
        """The one that knows the table: what stands beside it before what is set."""
        is_begun = _holds(files, "metadata")  # asked first: its own catalogue stands before that
        if _holds(files, OWN_CATALOGUE):
            return ""
        if not self.catalogue and is_begun:
            text = (
                f"the snapshot of {topic} in {files.location} is known to an Iceberg catalogue that"
                f" is not set: set iceberg_catalogue, or HEADWATER_ICEBERG_CATALOGUE, as its"
                f" writer has it"
            )
            if not is_bucket(files.location):
                text += (
                    f"; if that was {OWN_CATALOGUE} beside the files, it is gone: restore it from"
                    f" a copy, or begin a new snapshot with --to"
                )
            raise ConfigurationError([Problem("NO_CATALOGUE", text)])
        if not self.catalogue and is_bucket(files.location):
            text = (
                f"the snapshot of {topic} would be a table of Iceberg in {files.location}, where"
                f" none can have a catalogue of its own: set iceberg_catalogue, or"
                f' HEADWATER_ICEBERG_CATALOGUE, to one in Postgres, or declare format="delta"'
            )
            raise ConfigurationError([Problem("NO_CATALOGUE", text)])
        return self.catalogue

    def _parquet(self, files: TableFiles, topic: str) -> Table:
        from headwater.adapters.parquet.table import (  # noqa: PLC0415  # loads pydantic
            ParquetSnapshotTable,
        )

        return ParquetSnapshotTable(files, product=self.product, topic=topic)


def _files(place: str) -> TableFiles:
    """The files of a table. Raises StartRefusedError (SNAPSHOT_STORAGE)."""
    if not is_bucket(place):
        return DirectoryFiles(Path(place))
    # it takes time and memory that a directory does not need
    from headwater.adapters.objects.files import BucketFiles  # noqa: PLC0415  # see above

    return BucketFiles(place)


def _standing(files: TableFiles, topic: str) -> str | None:
    """The format of the table in a place; None where there is none that we know.

    Raises StartRefusedError (NOT_OUR_TABLE) where there are several: whoever opened it would be
    right half of the time.
    """
    found = [form for form, marks in MARKS.items() if any(_holds(files, mark) for mark in marks)]
    if len(found) > 1:
        raise StartRefusedError(
            f"The {place_of(files.location)} is no snapshot of {topic}: it holds tables of the"
            f" formats {' and '.join(found)}; nothing was changed. Choose another one with --to.",
            code="NOT_OUR_TABLE",
        )
    return found[0] if found else None


def _holds(files: TableFiles, mark: str) -> bool:
    """Whether a mark stands in a place. Raises RetriableError (SNAPSHOT_STORAGE)."""
    try:
        return files.holds(mark)
    except OSError as error:
        why = files.reason(error) or type(error).__name__
        raise storage_refuses(files.location, "read", why) from error


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Says which extra to install where a package of it is not."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package == "headwater":
            raise
        text = (
            f"{package} is not installed, which tables of Iceberg need: run"
            f" `pip install 'headwater[{name}]'`"
        )
        raise ConfigurationError([Problem("NOT_INSTALLED", text)]) from error
