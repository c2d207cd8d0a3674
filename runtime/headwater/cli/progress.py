"""Progress on standard error; bars only where a person watches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

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


class RateColumn(ProgressColumn):
    """How many a second, over the last seconds."""

    def render(self, task: Task) -> Text:
        """Nothing until there is a rate."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Yields a function to be told what is done and the total; the bar goes when the work ends."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


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
