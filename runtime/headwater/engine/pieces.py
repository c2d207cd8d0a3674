"""Which rows of a batch are run next, where some turn out to be refused behind state.

Only rows in front of the first refused one are surely what they seem.
"""

from typing import Final

FEWEST: Final = 256  # rows: to run fewer costs hardly less
ENOUGH: Final = 512  # rows known to go well: to run more of them twice costs more than a run
GROWTH: Final = 2  # times, after a piece that went well


class Pieces:
    """The pieces of a batch of so many rows, one at a time: `rows` are those to run next.

    At first all of them. Where one is refused, the next piece goes as far behind it as it goes
    before, and again, until enough rows are known to go well. So each refused row costs a run or
    two of some hundred rows: a batch is run about four times in all, however many there are.
    """

    def __init__(self, rows: int) -> None:
        self._end = rows
        self.rows = range(rows)
        self.are_done = False

    def pass_on(self) -> None:
        """The piece went well: go on behind it."""
        self.are_done = self.rows.stop == self._end
        self._begin(self.rows.stop, max(FEWEST, GROWTH * len(self.rows)))

    def refused_at(self, row: int) -> None:
        """A row of the piece is taken out, and those before it are known to go well."""
        known = row - self.rows.start
        self._begin(self.rows.start, known if known >= ENOUGH else known + max(FEWEST, known))

    def halve(self) -> None:
        """Something is wrong with the piece of more than one row, nobody knows with which."""
        self._begin(self.rows.start, len(self.rows) // 2)

    def _begin(self, start: int, rows: int) -> None:
        self.rows = range(start, min(start + rows, self._end))
