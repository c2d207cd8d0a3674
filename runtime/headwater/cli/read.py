"""`headwater read`: the events of a product, for people at a terminal."""

import sys
from enum import StrEnum
from typing import Annotated

import polars as pl
import typer

from headwater.assembly.consumer import open as opened
from headwater.cli.interruption import Kept
from headwater.cli.rows import RowsFormat, RowsOut, until_closed
from headwater.errors import ConfigurationError, Problem, UnavailableError
from headwater.reader.reading import Reading

app = typer.Typer(add_completion=False)


class Until(StrEnum):
    """Where reading ends."""

    NOW = "now"


@app.command(
    epilog="Example: headwater read operations.departure-delays --from end --format json."
    " Exit codes: 0 done, 69 broker, registry or storage away, 70 the log holds a record that"
    " cannot be read, 78 configuration, or what is asked for is not there any more."
)
def read(  # noqa: PLR0913, PLR0917  # one parameter per option
    name: Annotated[
        str, typer.Argument(metavar="PRODUCT", help="Name of a product, or of one of its outputs.")
    ],
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="Where to begin: snapshot, beginning, end, or what an interruption told.",
        ),
    ] = "snapshot",
    until: Annotated[
        Until | None, typer.Option(help="End with what is published now, else go on for ever.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="End after so many rows.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only these columns, with commas between.")
    ] = None,
    form: Annotated[
        RowsFormat, typer.Option("--format", help="How to print the rows.")
    ] = RowsFormat.TABLE,
) -> None:
    """Print every event of a product once: the newest snapshot's, then those of the log.

    Needs the product's name, the registry, the broker and the tables, not its code. Beside the
    columns of the contract stand `_partition`, `_offset` and `_timestamp`, where and when it was
    published; of a table of the latest rows also `_deleted`. What needs a new beginning is told,
    never left out.
    """
    with (
        opened(name) as product,
        product.read(from_, None if until is None else "now") as reading,
        until_closed(),
    ):
        _print(reading, RowsOut(form), _wanted(reading, columns), limit)


def _wanted(reading: Reading, columns: str | None) -> list[str]:
    if columns is None:
        return list(reading.columns)
    wanted = list(dict.fromkeys(name.strip() for name in columns.split(",")))
    if unknown := [name for name in wanted if name not in reading.columns]:
        text = f"no column {', '.join(unknown)} in {reading.position.topic}; it has"
        raise ConfigurationError([Problem("NO_COLUMN", f"{text} {', '.join(reading.columns)}")])
    return wanted


def _print(reading: Reading, out: RowsOut, wanted: list[str], limit: int | None) -> None:
    left, behind = limit, reading.token
    try:
        out.write(pl.DataFrame(schema=wanted))  # the head, which CSV without rows has too
        for frame in reading:
            rows = frame if left is None else frame.head(left)
            out.write(rows.select(wanted))
            behind = reading.token  # of what was printed, not of what was only read
            if left is not None and (left := left - rows.height) <= 0:
                return
    except UnavailableError:  # what else ends it asks for a new beginning
        print(f"Go on behind the rows printed with --from '{behind}'.", file=sys.stderr)
        raise
    except KeyboardInterrupt as error:
        raise Kept(f"go on behind the rows printed with --from '{behind}'") from error
