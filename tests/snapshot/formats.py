"""Every format of a table in a directory."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import pytest

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.parquet.table import ParquetSnapshotTable
from headwater.ports import Table


class Opened(Protocol):
    """Opens one more handle on the table of a directory."""

    def __call__(self, directory: Path, /, *, product: str, topic: str) -> Table: ...


FORMATS: Final[dict[str, Opened]] = {
    "delta": DeltaSnapshotTable,
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


LOSES_THE_ANSWER: Final = {"delta": _disk_fails("after"), "parquet": _disk_fails("after")}
"""Lets a commit happen and its answer be lost; the list is told of it."""
FAILS_BEFORE: Final = {"delta": _disk_fails("before"), "parquet": _disk_fails("before")}
"""Lets a commit fail before it happens."""
