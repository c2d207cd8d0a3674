"""Snapshot tables by their format: as a product declares it, and as it stands in a directory.

No library of a format is loaded before a table of it is opened.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headwater.config import Settings
from headwater.errors import ConfigurationError, Problem, StartRefusedError
from headwater.ports import Table

OWN_CATALOGUE: Final = "catalog.db"  # beside a table of Iceberg that no shared catalogue knows
MARKS: Final[Mapping[str, tuple[str, ...]]] = {
    "delta": ("_delta_log",),
    "iceberg": (OWN_CATALOGUE, "metadata"),
    "parquet": ("manifest",),
}
"""What stands in the directory of a table of each format, and of no other."""

DEFAULT: Final = "delta"  # what a directory without a table is opened as; as declarations have it


@dataclass(frozen=True, slots=True)
class SnapshotTables:
    """The snapshot tables of a product: `<directory>/<topic>` each.

    `catalogue` is the URL of the Iceberg catalogue that tables are registered in; empty where each
    has one of its own.
    """

    directory: Path
    product: str
    catalogue: str = field(default="", repr=False)  # may hold a password

    @classmethod
    def of(
        cls, settings: Settings, product: str, directory: Path | None = None
    ) -> "SnapshotTables":
        """Those of the settings; below another directory where one is given."""
        place = settings.snapshots if directory is None else directory
        return cls(place, product, settings.iceberg_catalogue.get_secret_value())

    def open(self, topic: str) -> Table:
        """The table of a topic in whatever format it is; one without versions where there is none.

        Raises StartRefusedError (NOT_OUR_TABLE), ConfigurationError (NOT_INSTALLED, NO_CATALOGUE),
        and what the tables of its format raise.
        """
        return self.open_at(self._place(topic), topic)

    def open_at(self, place: Path, topic: str) -> Table:
        """The table of a topic that stands in a directory of its own; raises as `open` does."""
        return self._opened(place, topic, _standing(place, topic) or DEFAULT)

    def open_as(self, topic: str, form: str) -> Table:
        """The table of a topic to be written in a declared format.

        Also raises StartRefusedError: ANOTHER_FORMAT where one of another format stands, and
        ANOTHER_CATALOGUE where one stands whose catalogue is not the one that is set.
        """
        place = self._place(topic)
        found = _standing(place, topic)
        if found not in {None, form}:
            raise StartRefusedError(
                f"The snapshot of {topic} in {place} is of format {found}, and the product declares"
                f" format={form!r}; nothing was written. Declare format={found!r}, or begin a new"
                f" snapshot of the whole log in another directory with --to.",
                code="ANOTHER_FORMAT",
            )
        if form == "iceberg" and self.catalogue and (place / OWN_CATALOGUE).exists():
            raise StartRefusedError(
                f"The snapshot of {topic} in {place} has a catalogue of its own, {OWN_CATALOGUE},"
                f" and the setting iceberg_catalogue names another; nothing was written. Take the"
                f" setting out, or begin a new snapshot of the whole log in another directory with"
                f" --to.",
                code="ANOTHER_CATALOGUE",
            )
        return self._opened(place, topic, form)

    def _place(self, topic: str) -> Path:
        return (self.directory / topic).absolute()

    def _opened(self, place: Path, topic: str, form: str) -> Table:
        openers: Mapping[str, Callable[[Path, str], Table]] = {
            "delta": self._delta,
            "iceberg": self._iceberg,
            "parquet": self._parquet,
        }
        return openers[form](place, topic)

    def _delta(self, place: Path, topic: str) -> Table:
        from headwater.adapters.delta.table import DeltaSnapshotTable  # noqa: PLC0415  # loads deltalake

        return DeltaSnapshotTable(place, product=self.product, topic=topic)

    def _iceberg(self, place: Path, topic: str) -> Table:
        catalogue = self._catalogue(place, topic)
        with _extra("iceberg"):
            from headwater.adapters.iceberg.table import (  # noqa: PLC0415  # loads pyiceberg
                IcebergSnapshotTable,
            )

            return IcebergSnapshotTable(
                place, product=self.product, topic=topic, catalogue=catalogue
            )

    def _catalogue(self, place: Path, topic: str) -> str:
        """The one that knows the table: what stands beside it before what is set."""
        if (place / OWN_CATALOGUE).exists():
            return ""
        if not self.catalogue and (place / "metadata").exists():
            text = (
                f"the snapshot of {topic} in {place} is known to an Iceberg catalogue that is not"
                f" set: set iceberg_catalogue, or HEADWATER_ICEBERG_CATALOGUE, as its writer has it"
            )
            raise ConfigurationError([Problem("NO_CATALOGUE", text)])
        return self.catalogue

    def _parquet(self, place: Path, topic: str) -> Table:
        from headwater.adapters.parquet.table import (  # noqa: PLC0415  # loads pydantic
            ParquetSnapshotTable,
        )

        return ParquetSnapshotTable(place, product=self.product, topic=topic)


def _standing(place: Path, topic: str) -> str | None:
    """The format of the table in a directory; None where there is none that we know.

    Raises StartRefusedError (NOT_OUR_TABLE) where there are several: whoever opened it would be
    right half of the time.
    """
    found = [
        form for form, marks in MARKS.items() if any((place / each).exists() for each in marks)
    ]
    if len(found) > 1:
        raise StartRefusedError(
            f"The directory {place} is no snapshot of {topic}: it holds tables of the formats"
            f" {' and '.join(found)}; nothing was changed. Choose another directory with --to.",
            code="NOT_OUR_TABLE",
        )
    return found[0] if found else None


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
