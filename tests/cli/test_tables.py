"""Tables as a terminal, a log or a program reads them."""

import pytest

from headwater.cli.tables import PIPED_WIDTH, show, table


def test_a_table_that_is_piped_fits_80_columns_and_loses_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Long cells fold; numbers stay in one piece, and what looks like markup is data."""
    made = table("topic", "rows", "what it is", numbers={"rows"})
    made.add_row("operations.departure-delays", "336,776", "word " * 40)
    made.add_row("x" * 100, "1", "[red]not markup[/red]")
    show(made)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= PIPED_WIDTH == 80
    assert "336,776" in said
    assert said.count("x") == 100
    assert said.count("word") == 40
    assert "[red]not markup[/red]" in said
