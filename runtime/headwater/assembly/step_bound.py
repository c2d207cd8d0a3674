"""Ends this process when an author's step does not come back, even from C code.

Nothing else can: no exception reaches a loop inside a regular expression. So the kernel's alarm
does it; before it ends the process, Python writes where it stood (files and lines, no values).
"""

import faulthandler
import signal
from dataclasses import dataclass, replace

import polars as pl

from headwater.assembly.project import LoadedProduct
from headwater.flow.stage import Columns, Processed, Stage
from headwater.product import Step


def bounded(loaded: LoadedProduct, seconds: float) -> LoadedProduct:
    """The same product, of which a step may take `seconds` over one batch.

    One that takes longer ends the process with SIGALRM: exit code 142 for a shell. Only the main
    thread may call this, and the alarm must not be another's.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, all_threads=False, chain=True)
    plans = {
        topic: plan.wrapped(lambda stage: _Bounded(stage, seconds))
        for topic, plan in loaded.plans.items()
    }
    return replace(loaded, plans=plans)


@dataclass(frozen=True, slots=True)
class _Bounded:
    """A stage under the alarm while it runs, and only then: never while something is waited for."""

    stage: Stage
    seconds: float

    @property
    def step(self) -> Step:
        """The declared step."""
        return self.stage.step

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out."""
        return self.stage.columns(given)

    def run(self, frame: pl.DataFrame) -> Processed:
        """The step on a frame."""
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        try:
            return self.stage.run(frame)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
