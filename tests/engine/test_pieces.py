"""Which rows of a batch are run next: every row goes on once, and few are run often."""

from hypothesis import given
from hypothesis import strategies as st

from headwater.engine.pieces import Pieces


def run(rows: int, bad: set[int]) -> tuple[list[range], int]:
    """The pieces that went well, and how many were run; of a piece its first bad row is found."""
    pieces, found, passed, runs = Pieces(rows), set[int](), list[range](), 0
    while not pieces.are_done:
        runs += 1
        refused = [row for row in pieces.rows if row in bad - found]
        if refused:
            found.add(refused[0])
            pieces.refused_at(refused[0])
        else:
            passed.append(pieces.rows)
            pieces.pass_on()
    return passed, runs


@given(st.integers(0, 12_000), st.sets(st.integers(0, 11_999), max_size=40))
def test_every_row_goes_on_once_and_a_refused_one_costs_a_few_runs(
    rows: int, bad: set[int]
) -> None:
    """In order, whichever rows are refused; a batch of none takes one run."""
    passed, runs = run(rows, bad)
    assert [row for piece in passed for row in piece] == list(range(rows))
    assert runs <= 1 + 6 * len([row for row in bad if row < rows])


def test_a_piece_that_is_halved_goes_on_where_it_began() -> None:
    """Down to one row; behind it all is tried again."""
    pieces = Pieces(9)
    for rows in (range(4), range(2), range(1)):
        pieces.halve()
        assert pieces.rows == rows
    pieces.pass_on()
    assert pieces.rows == range(1, 9)
