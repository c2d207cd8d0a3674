"""Bars: only where a person watches, and gone when their work is done."""

from io import StringIO

import pytest
from rich.console import Console

from headwater.cli.progress import RunBars
from headwater.model import RestoreStanding


def standing(read: int, left: int) -> RestoreStanding:
    """A store being restored; done when nothing is left."""
    return RestoreStanding("air.latest", "latest-1", 5, read, left, 1.0, left == 0)


@pytest.mark.parametrize("has_end", [True, False])
def test_state_that_is_restored_has_a_bar_until_it_is_done(has_end: bool) -> None:
    """In an endless run too, where nothing else is shown."""
    terminal = StringIO()
    console = Console(file=terminal, force_terminal=True, width=100)
    with RunBars("air.latest", has_end=has_end, console=console) as bars:
        bars.restoring([standing(0, 10)])
        bars.restoring([standing(4, 6)])
        bars._bars.refresh()
        shown = terminal.getvalue()
        bars.restoring([standing(10, 0)])
        bars._bars.refresh()
        terminal.truncate(0)
        bars.progressed(3, 4)
        bars._bars.refresh()
        after = terminal.getvalue()
    assert "restoring state" in shown
    assert "9/15" in shown
    assert "restoring" not in after
    assert ("3/4" in after) == has_end


def test_no_bar_where_nobody_watches() -> None:
    """A log of a service stays a log."""
    file = StringIO()
    with RunBars("air.latest", has_end=True, console=Console(file=file)) as bars:
        bars.restoring([standing(4, 6)])
        bars.progressed(3, 4)
    assert not file.getvalue().strip()
