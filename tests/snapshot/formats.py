"""Every format of a table in a directory."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy.exc import OperationalError

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg.table import IcebergSnapshotTable
from headwater.adapters.objects.files import BucketFiles
from headwater.adapters.parquet.table import ParquetSnapshotTable
from headwater.ports import Table


class Opened(Protocol):
    """Opens one more handle on the table of a directory."""

    def __call__(self, directory: Path, /, *, product: str, topic: str) -> Table: ...


def open_delta(directory: Path, *, product: str, topic: str) -> DeltaSnapshotTable:
    """Of Delta."""
    return DeltaSnapshotTable(DirectoryFiles(directory), product=product, topic=topic)


def open_parquet(directory: Path, *, product: str, topic: str) -> ParquetSnapshotTable:
    """Of Parquet files with manifests."""
    return ParquetSnapshotTable(DirectoryFiles(directory), product=product, topic=topic)


def open_iceberg(directory: Path, *, product: str, topic: str) -> IcebergSnapshotTable:
    """Of Iceberg, with a catalogue of its own."""
    return IcebergSnapshotTable(DirectoryFiles(directory), product=product, topic=topic)


FORMATS: Final[dict[str, Opened]] = {
    "delta": open_delta,
    "iceberg": open_iceberg,
    "parquet": open_parquet,
}
CLASSES: Final[dict[str, type[Table]]] = {
    "delta": DeltaSnapshotTable,
    "iceberg": IcebergSnapshotTable,
    "parquet": ParquetSnapshotTable,
}
BY_PUTS: Final = ("delta in a bucket", "parquet in a bucket")
"""The formats whose commits are puts of a name that is free."""
IN_BUCKETS: Final = (*BY_PUTS, "iceberg in a bucket")


def opener(request: pytest.FixtureRequest, directory: Path, topic: str) -> Callable[[], Table]:
    """Opens one more handle on the same table, of the format that a fixture is parametrised by.

    It stands in the directory, or in a new bucket.
    """
    if request.param in FORMATS:
        return lambda: FORMATS[request.param](directory, product=topic, topic=topic)
    location, url = request.getfixturevalue("bucket"), catalogue_of(request)
    return lambda: in_bucket(request.param, location, topic, url)


def in_bucket(kind: str, location: str, topic: str, catalogue: str = "") -> Table:
    """One more handle on the table in a bucket."""
    files = BucketFiles(location)
    if kind.startswith("delta"):
        return DeltaSnapshotTable(files, product=topic, topic=topic)
    if kind.startswith("iceberg"):
        return IcebergSnapshotTable(files, product=topic, topic=topic, catalogue=catalogue)
    return ParquetSnapshotTable(files, product=topic, topic=topic)


def catalogue_of(request: pytest.FixtureRequest) -> str:
    """The URL of the catalogue that the format needs, which a fixture is parametrised by."""
    return str(request.getfixturevalue("catalogue_url")) if "iceberg" in request.param else ""


def _disk_fails(when: str) -> Callable[[pytest.MonkeyPatch], list[str]]:
    """The disk fails at the moment of a commit: `before` it happens or `after`."""

    def apply(patch: pytest.MonkeyPatch) -> list[str]:
        told: list[str] = []
        link = os.link

        def failing(source: Path, target: Path) -> None:
            if when == "after":
                link(source, target)
            told.append("lost")
            raise OSError(5, "Input/output error")

        patch.setattr(os, "link", failing)
        return told

    return apply


def _catalogue_fails(when: str) -> Callable[[pytest.MonkeyPatch], list[str]]:
    """The catalogue fails at the moment of a commit: `before` it happens or `after`."""

    def apply(patch: pytest.MonkeyPatch) -> list[str]:
        told: list[str] = []
        commit = SqlCatalog.commit_table

        def failing(self: SqlCatalog, *given: Any) -> None:
            if when == "after":
                commit(self, *given)
            told.append("lost")
            raise OperationalError("COMMIT", None, Exception("disk I/O error"))

        patch.setattr(SqlCatalog, "commit_table", failing)
        return told

    return apply


LOSES_THE_ANSWER: Final = {
    "delta": _disk_fails("after"),
    "iceberg": _catalogue_fails("after"),
    "parquet": _disk_fails("after"),
}
"""Lets a commit happen and its answer be lost; the list is told of it."""
FAILS_BEFORE: Final = {
    "delta": _disk_fails("before"),
    "iceberg": _catalogue_fails("before"),
    "parquet": _disk_fails("before"),
}
"""Lets a commit fail before it happens."""
