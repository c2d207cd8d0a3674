"""Rows and records for tests of the storage of tables."""

from pathlib import Path

import pyarrow as pa

from headwater.ports import CommitRecord, CutRange

TOPIC = "shop.orders"


def rows(start: int, end: int) -> pa.Table:
    """Rows of partition 0 that do not compress."""
    offsets = range(start, end)
    return pa.table(
        {
            "id": pa.array([f"{hash((o, 'salt')):x}" for o in offsets], pa.string()),
            "_partition": pa.array([0 for _ in offsets], pa.int32()),
            "_offset": pa.array(offsets, pa.int64()),
            "_timestamp": pa.array(offsets, pa.timestamp("ms", "UTC")),
        }
    )


def record(start: int, end: int) -> CommitRecord:
    """The commit of those rows."""
    taken = CutRange(0, start, end, end - start, "0" * 32)
    return CommitRecord(f"commit-{start}-{end}", TOPIC, TOPIC, "one", 1, (taken,), 1_000)


def parquet_files(directory: Path) -> set[str]:
    """Names of all data files, those without a commit included."""
    return {path.name for path in directory.rglob("*.parquet")}
