"""Data files of a Delta table: written and made durable before any commit names them."""

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headwater.adapters.delta.log import Action
from headwater.ports import NewFile

ROW_GROUP_ROWS: Final = 131_072  # a reader of few offsets unpacks one group, not the file
_STATISTICS: Final = ("_partition", "_offset")  # what our readers skip files by


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """Files that no commit names yet."""

    directory: Path
    paths: Sequence[str]
    actions: Sequence[Action]

    def discard(self) -> None:
        """Remove them. Only when it is known that no commit names them."""
        for path in self.paths:
            (self.directory / path).unlink(missing_ok=True)


def write_files(
    directory: Path, files: Sequence[NewFile], *, written_at_ms: int, changes_data: bool
) -> WrittenFiles:
    """Write files whose rows have the table's types. Raises OSError, leaves nothing behind then."""
    written = WrittenFiles(directory, paths := [], actions := [])
    # Racing writers of the same ranges must not share a name.
    attempt = uuid.uuid4().hex
    try:
        for each in files:
            paths.append(f"{each.name}-{attempt}.parquet")
            size = _write_file(directory / paths[-1], each.rows)
            actions.append(
                {
                    "add": {
                        "path": paths[-1],
                        "partitionValues": {},
                        "size": size,
                        "modificationTime": written_at_ms,
                        "dataChange": changes_data,
                        "stats": _statistics(each.rows),
                    }
                }
            )
    except BaseException:  # a Ctrl-C too: what is half-written must not stay
        written.discard()
        raise
    return written


def _write_file(path: Path, rows: pa.Table) -> int:
    with path.open("xb") as file:
        pq.write_table(
            rows,
            file,
            compression="zstd",
            row_group_size=ROW_GROUP_ROWS,
            write_page_checksum=True,  # a bit that rots is damage, never another value
        )
        file.flush()
        os.fsync(file.fileno())  # a commit must never outlive the data it names
    return path.stat().st_size


def _statistics(rows: pa.Table) -> str:
    bounds: dict[str, Any] = {name: pc.min_max(rows[name]).as_py() for name in _STATISTICS}
    return json.dumps(
        {
            "numRecords": rows.num_rows,
            "minValues": {name: found["min"] for name, found in bounds.items()},
            "maxValues": {name: found["max"] for name, found in bounds.items()},
            "nullCount": dict.fromkeys(_STATISTICS, 0),
        }
    )
