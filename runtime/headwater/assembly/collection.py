"""Python's search for cycles, made rare while a product runs or its log is read."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NEW_OBJECTS: Final = 100_000  # a few batches of records; Python's 700 is met a dozen times in each


@contextmanager
def rare_collections() -> Iterator[None]:
    """What is there by now is never searched again, what comes only every so many objects.

    A batch makes a container per record and lets go of it whole, in no cycle. Searching after each
    700 of them took a third of the CPU of a step with state, in pauses of 0.1 s and more, and a
    fifth of that of a snapshot.
    """
    before = gc.get_threshold()
    gc.freeze()  # unsearched: of the imports, which are most of it, less than 1 MB is garbage
    gc.set_threshold(NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
