"""Every format of a table in a directory."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy.exc import OperationalError

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.iceberg.table import IcebergSnapshotTable
from headwater.adapters.parquet.table import ParquetSnapshotTable
from headwater.ports import Table


class Opened(Protocol):
    """Opens one more handle on the table of a directory."""

    def __call__(self, directory: Path, /, *, product: str, topic: str) -> Table: ...


FORMATS: Final[dict[str, Opened]] = {
    "delta": DeltaSnapshotTable,
    "iceberg": IcebergSnapshotTable,
    "parquet": ParquetSnapshotTable,
}


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
