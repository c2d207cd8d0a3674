"""Data files as a Delta log names them."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from headwater.adapters.delta.log import Action
from headwater.adapters.parquet.files import DataFile


def additions(
    files: Sequence[DataFile],
    divided_by: str | None,
    *,
    written_at_ms: int,
    changes_data: bool,
) -> list[Action]:
    """The entries that make files part of a table."""
    return [
        {
            "add": {
                "path": quote(each.path, safe="/="),  # as the protocol has it: escaped once more
                "partitionValues": {} if divided_by is None else {divided_by: each.value},
                "size": each.size,
                "modificationTime": written_at_ms,
                "dataChange": changes_data,
                "stats": _statistics(each),
            }
        }
        for each in files
    ]


def _statistics(file: DataFile) -> str:
    """What our readers skip files by."""
    bounds: dict[str, Any] = {"_partition": file.partitions, "_offset": file.offsets}
    held = {name: found for name, found in bounds.items() if found is not None}
    return json.dumps(
        {
            "numRecords": file.rows,
            "minValues": {name: first for name, (first, _) in held.items()},
            "maxValues": {name: last for name, (_, last) in held.items()},
            "nullCount": dict.fromkeys(held, 0),
        }
    )
