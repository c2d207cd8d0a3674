"""Work on one part in a thread while the next one is made, as double buffering does."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Done = TypeVar("Done")


def one_behind(work: Callable[[Part], Done], parts: Iterable[Part]) -> list[Done]:
    """Work on parts in their order, in a thread, each while the next one is made.

    Work on one alone is under way, so no more than two parts are held. Whatever ends this waits for
    it: a Ctrl-C leaves it whole, and its error comes before that of the part made meanwhile.
    Raises what `work` and `parts` raise; no part behind an error is worked on.
    """
    begun: list[Future[Done]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="snapshot") as thread:
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
