"""Tables on standard output: nothing is cut off, and none is wider than what shows it."""

import sys
from collections.abc import Collection
from typing import Final

from rich.console import Console
from rich.table import Table

PIPED_WIDTH: Final = 80  # columns: what a log, a mail or a page of documentation holds


def table(*headings: str, numbers: Collection[str] = ()) -> Table:
    """A table without lines, whose cells fold where they are too long; `numbers` never do."""
    made = Table(box=None, padding=(0, 1), pad_edge=False)
    for heading in headings:
        is_number = heading in numbers
        made.add_column(
            heading,
            overflow="fold",
            justify="right" if is_number else "left",
            no_wrap=is_number,
        )
    return made


def show(made: Table) -> None:
    """Print a table, as wide as the terminal at most, or PIPED_WIDTH where there is none."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    # what stands in the cells is data: neither markup nor numbers and paths to be coloured
    Console(width=width, highlight=False, markup=False).print(made)
