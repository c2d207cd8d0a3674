"""Ends this process when an author's step does not come back, even from C code.

Nothing else can: no exception reaches a loop inside a regular expression. So the kernel's alarm
does it; before it ends the process, Python writes where it stood (files and lines, no values).
"""

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from headwater.assembly.project import LoadedProduct
from headwater.product import Step


def bounded(loaded: LoadedProduct, seconds: float) -> LoadedProduct:
    """The same product, of which a step may take `seconds` over one batch.

    One that takes longer ends the process with SIGALRM: exit code 142 for a shell. Only the main
    thread may call this, and the alarm must not be another's.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, all_threads=False, chain=True)

    @contextmanager
    def alarm(_: Step) -> Iterator[None]:
        """Armed while a step runs, and only then: never while something is waited for."""
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    return loaded.surrounded(alarm)
