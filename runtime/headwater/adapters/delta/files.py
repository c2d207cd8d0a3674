"""Data files as a Delta log names them."""

import json
from collections.abc import Sequence

from headwater.adapters.delta.log import Action
from headwater.adapters.parquet.files import DataFile


def additions(files: Sequence[DataFile], *, written_at_ms: int, changes_data: bool) -> list[Action]:
    """The entries that make files part of a table."""
    return [
        {
            "add": {
                "path": each.path,
                "partitionValues": {},
                "size": each.size,
                "modificationTime": written_at_ms,
                "dataChange": changes_data,
                "stats": _statistics(each),
            }
        }
        for each in files
    ]


def _statistics(file: DataFile) -> str:
    """Their number alone, which no reader takes amiss.

    Of the columns without bounds, or without a bound that its types know (texts that are cut,
    booleans, structs), deltalake's dataset takes every row for null, and a filter finds nothing.
    Where rows stand is in the file's name, and bounds of every column in its footer.
    """
    return json.dumps({"numRecords": file.rows})
