"""Progress on standard error; bars only where a person watches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from headwater.model import RestoreStanding


class RateColumn(ProgressColumn):
    """How many a second, over the last seconds."""

    def render(self, task: Task) -> Text:
        """Nothing until there is a rate."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


def _counting() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Yields a function to be told what is done and the total; the bar goes when the work ends."""
    console = Console(stderr=True)
    with Progress(
        *_counting(), console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class RunBars:
    """A bar of records up to the end of a run, if it has one, and one while state is restored.

    An endless run shows nothing else: its log tells. Nothing is shown but on a terminal.
    """

    def __init__(self, name: str, *, has_end: bool, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._bars = Progress(
            *_counting(), console=console, transient=True, disable=not console.is_terminal
        )
        self._has_end = has_end
        self._records = self._bars.add_task(name, total=None, visible=has_end)
        self._state = self._bars.add_task("restoring state", total=None, visible=False)

    def __enter__(self) -> Self:
        if self._has_end:
            self._bars.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bars.stop()

    def progressed(self, done: int, total: int) -> None:
        """So many records of so many are committed."""
        self._bars.update(self._records, completed=done, total=total)

    def restoring(self, standings: Sequence[RestoreStanding]) -> None:
        """All stores while they are restored; the bar goes with the last one that is done."""
        is_done = all(each.is_done for each in standings)
        done = sum(each.loaded + each.read for each in standings)
        left = sum(each.left for each in standings)
        self._bars.update(self._state, completed=done, total=done + left, visible=not is_done)
        if not self._has_end:
            self._bars.stop() if is_done else self._bars.start()


class StackProgress:
    """Steps as lines, downloads as bars, all on standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Say what begins now."""
        self._console.print(f"{text} …", highlight=False)

    def download(
        self, name: str, total_bytes: int
    ) -> AbstractContextManager[Callable[[int], None]]:
        """A bar of this many bytes; yields a function to be told of bytes that came."""
        return self._bar(name, total_bytes)

    @contextmanager
    def _bar(self, name: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
        columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn())
        with Progress(
            *columns,
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,  # a log wants the steps, not the bars
        ) as bars:
            task = bars.add_task(name, total=total_bytes)
            yield lambda count: bars.advance(task, count)
