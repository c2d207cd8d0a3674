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
from deltalake.transaction import AddAction

from headwater.ports import CommitRecord

ROW_GROUP_ROWS: Final = 131_072  # a reader of few offsets unpacks one group, not the file
_STATISTICS: Final = ("_partition", "_offset")  # what our readers skip files by


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """Files that no commit names yet."""

    directory: Path
    actions: Sequence[AddAction]

    def discard(self) -> None:
        """Remove them. Only when it is known that no commit names them."""
        for action in self.actions:
            (self.directory / action.path).unlink(missing_ok=True)


def write_files(directory: Path, rows: pa.Table, record: CommitRecord) -> WrittenFiles:
    """Write the rows of each range to one file. Raises OSError and leaves nothing behind then."""
    written = WrittenFiles(directory, actions := [])
    # Racing writers of the same ranges share the commit id; their files must not share a name.
    attempt = f"{record.commit_id}-{uuid.uuid4().hex[:8]}"
    taken = [r for r in record.ranges if r.rows]
    try:
        for r in taken:
            name = f"part-{r.partition}-{r.start}-{r.end}-{attempt}.parquet"
            actions.append(AddAction(name, 0, {}, record.committed_at_ms, True, ""))  # noqa: FBT003 (a positional flag of the library)
            part = rows.filter(pc.field("_partition") == r.partition)
            actions[-1] = _write_file(directory / name, part, record.committed_at_ms)
    except BaseException:  # a Ctrl-C too: what is half-written must not stay
        written.discard()
        raise
    return written


def _write_file(path: Path, rows: pa.Table, written_at_ms: int) -> AddAction:
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
    return AddAction(path.name, path.stat().st_size, {}, written_at_ms, True, _statistics(rows))  # noqa: FBT003 (a positional flag of the library)


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
