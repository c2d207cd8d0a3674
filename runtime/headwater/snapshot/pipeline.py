"""Work in a thread beside the one that reads: much of both is done without the interpreter."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Final, TypeVar

Part = TypeVar("Part")
Done = TypeVar("Done")

_NAME: Final = "snapshot"  # of the thread


def one_behind(work: Callable[[Part], Done], parts: Iterable[Part]) -> list[Done]:
    """Work on parts in their order, each while the next one is made, as double buffering does.

    Work on one alone is under way, so no more than two parts are held. Whatever ends this waits for
    it: a Ctrl-C leaves it whole, and its error comes before that of the part made meanwhile.
    Raises what `work` and `parts` raise; no part behind an error is worked on.
    """
    begun: list[Future[Done]] = []
    with ThreadPoolExecutor(1, thread_name_prefix=_NAME) as thread:
        try:
            for part in parts:
                if begun:
                    begun[-1].result()
                begun.append(thread.submit(work, part))
                del part  # else it is held until the next is made, however soon its work is done
        finally:
            if begun:
                begun[-1].result()
    return [each.result() for each in begun]


@contextmanager
def beside(parts: Iterable[object]) -> Iterator[Callable[[], None]]:
    """Make parts while the block runs, which ends when all are made.

    The block is given what raises there what making them raised. An error of the block ends it once
    the part under way is made. Raises what `parts` raise.
    """
    is_over = Event()

    def make() -> None:
        for _ in parts:
            if is_over.is_set():
                return

    with ThreadPoolExecutor(1, thread_name_prefix=_NAME) as thread:
        try:
            made = thread.submit(make)  # a Ctrl-C may come amid this too

            def require_sound() -> None:
                if made.done():
                    made.result()

            yield require_sound
            made.result()
        finally:
            is_over.set()
