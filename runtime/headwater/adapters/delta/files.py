"""Data files as a Delta log names them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from headwater.adapters.delta.log import Action
from headwater.adapters.parquet.files import DataFile
from headwater.ports import NewFile


def stored(file: NewFile, by: str | None) -> NewFile:
    """A file as Delta has it: without the column that divides the table, which its log tells."""
    return file if by is None else replace(file, rows=file.rows.drop_columns([by]))


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
    """Their number alone, which no reader takes amiss.

    Of the columns without bounds, or without a bound that its types know (texts that are cut,
    booleans, structs), deltalake's dataset takes every row for null, and a filter finds nothing.
    Where rows stand is in the file's name, and bounds of every column in its footer.
    """
    return json.dumps({"numRecords": file.rows})
