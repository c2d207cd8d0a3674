"""Tables on standard output: nothing is cut off, and no word is ever torn apart."""

import sys
from collections.abc import Collection
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

GAP: Final = 2  # blanks between columns


def table(*headings: str, numbers: Collection[str] = ()) -> Table:
    """A table without lines; `numbers` stand at the right of their columns."""
    made = Table(box=None, padding=(0, GAP // 2), pad_edge=False)
    for heading in headings:
        made.add_column(heading, justify="right" if heading in numbers else "left")
    return made


def show(made: Table) -> None:
    """Print a table, where people and where programs look.

    On a terminal, columns of sentences fold between words to fit its width; names, codes and
    places never do, and lines grow longer than the terminal rather. Elsewhere nothing folds: a row
    is a line, so that grep finds it whole.
    """
    is_terminal = sys.stdout.isatty()
    least = _set_widths(made, is_folding=is_terminal)
    # what stands in the cells is data: neither markup nor numbers and paths to be coloured
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, least) if is_terminal else least
    if is_terminal:
        console.print(made, crop=False)
        return
    with console.capture() as kept:
        console.print(made, crop=False)
    print("\n".join(line.rstrip() for line in kept.get().rstrip("\n").split("\n")))


def _set_widths(made: Table, *, is_folding: bool) -> int:
    """Let only what may fold do so; how wide the table is at least."""
    for column in made.columns:
        cells = [str(column.header), *map(str, column.cells)]
        may_fold = is_folding and any(len(cell.split()) > 1 for cell in cells[1:])
        parts = [part for cell in cells for part in (cell.split() if may_fold else [cell])]
        column.no_wrap = not may_fold
        column.min_width = max(map(cell_len, parts))
    return sum(each.min_width or 0 for each in made.columns) + GAP * (len(made.columns) - 1)
