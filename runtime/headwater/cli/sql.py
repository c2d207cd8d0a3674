"""`headwater sql`: a query over the snapshots of products."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from headwater.assembly.consumer import open as opened
from headwater.cli.interruption import keeping
from headwater.cli.rows import RowsFormat, RowsOut, until_closed
from headwater.errors import ConfigurationError, Problem
from headwater.reader.sql import Query

app = typer.Typer(add_completion=False)


class AnswerFormat(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


@app.command(
    epilog='Example: headwater sql "SELECT carrier, avg(delay_minutes) FROM'
    " 'operations.departure-delays' GROUP BY carrier\"."
    " Exit codes: 0 done, 69 broker, registry or storage away, 78 configuration, the query, or a"
    " snapshot that is not there."
)
def sql(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="One SELECT of DuckDB's SQL, products in quotes.")
    ],
    live: Annotated[
        bool, typer.Option("--live", help="Add what was published since each snapshot, up to now.")
    ] = False,
    form: Annotated[
        AnswerFormat, typer.Option("--format", help="How to write the answer.")
    ] = AnswerFormat.TABLE,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where a Parquet file is written to.")
    ] = None,
) -> None:
    """Answer a query over the newest snapshots of any number of products.

    A product, or output of one, is a table by its name in quotes; its columns are those of the
    contract and `_partition`, `_offset`, `_timestamp`. Needs DuckDB, the extra `sql`.
    """
    if (form is AnswerFormat.PARQUET) != (out is not None):
        text = "--format parquet and --out FILE go together; other formats go to standard output"
        raise ConfigurationError([Problem("USAGE", text)])
    rows = Query(query, opened, is_live=live).rows()
    if out is not None:
        with keeping(f"{out} was not written"):
            _write(rows, out)
        return
    printed = RowsOut(RowsFormat(form.value))
    with until_closed():
        for batch in rows:
            frame = pl.from_arrow(batch)
            if isinstance(frame, pl.DataFrame):
                printed.write(frame)


def _is_taken(out: Path) -> bool:
    """Whether something stands there that is no file; what cannot be asked is told by writing."""
    try:
        return not stat.S_ISREG(out.stat().st_mode)
    except OSError:
        return False


def _write(rows: Iterator[pa.RecordBatch], out: Path) -> None:
    """Write batches, the first of which tells the columns: the whole file, or none."""
    if _is_taken(out):  # renaming would put a file in the place of a device
        text = f"{out} cannot be written: it is there, and no file"
        raise ConfigurationError([Problem("BAD_VALUE", text)])
    first, part = next(rows), out.with_name(f".headwater-{os.getpid()}.parquet")
    try:
        with pq.ParquetWriter(part, first.schema, compression="zstd") as file:
            for batch in rows:
                file.write_batch(batch)
        part.replace(out)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "its file system refuses"
        raise ConfigurationError(
            [Problem("BAD_VALUE", f"{out} cannot be written: {why}")]
        ) from error
    finally:
        with suppress(OSError):  # where it could not be made there may be no directory either
            part.unlink()
