"""Runs a product in this process: signals, probes and metrics around the loop."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from headwater.assembly.processor import Processor, Telling
from headwater.assembly.project import LoadedProduct
from headwater.clock import SYSTEM
from headwater.config import Settings
from headwater.engine import Start
from headwater.errors import FencedError
from headwater.model import Code, Positions
from headwater.observe.health import Health
from headwater.observe.logs import bind_process, get_logger
from headwater.observe.metrics import Metrics
from headwater.observe.monitor import ProcessMonitor
from headwater.serve import start as serve

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
OnProgress = Callable[[int, int], None]

log = get_logger("run")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What an operator may ask of one run."""

    until_end: bool = False
    is_registering: bool = False
    start: Start | None = None


@dataclass(slots=True)
class Summary:
    """What one run committed: records read, written per topic, quarantined per code."""

    product: str
    read: int = 0
    written: Counter[str] = field(default_factory=Counter)
    codes: Counter[Code] = field(default_factory=Counter)
    transactions: int = 0
    seconds: float = 0.0


class _SummingMonitor(ProcessMonitor):
    """Also adds up what was committed, for the summary at the end."""

    def __init__(self, metrics: Metrics, health: Health, summary: Summary) -> None:
        super().__init__(metrics, health)
        self._summary = summary

    def counted(
        self, *, read: Mapping[str, int], written: Mapping[str, int], codes: Mapping[Code, int]
    ) -> None:
        super().counted(read=read, written=written, codes=codes)
        self._summary.read += sum(read.values())
        self._summary.written.update(written)
        self._summary.codes.update(codes)

    def ended(self, ending: str, seconds: float) -> None:
        super().ended(ending, seconds)
        self._summary.transactions += ending == "committed"


def run_product(
    loaded: LoadedProduct,
    settings: Settings,
    options: RunOptions,
    on_progress: OnProgress | None = None,
) -> Summary:
    """Run until a stop signal, or until the ends of now; returns what was committed.

    `on_progress(done, total)` hears of records read, `total` being 0 for an endless run.
    Raises every error of `Loop.run`, and what `Processor` refuses.
    """
    product = loaded.name
    bind_process(product=product, instance=settings.instance)
    metrics, health, summary = Metrics(product), Health(), Summary(product)
    monitor = _SummingMonitor(metrics, health, summary)
    with serve(health, metrics.registry, settings.metrics.host, settings.metrics.port) as server:
        log.info("run.serving", host=settings.metrics.host, port=server.port)
        processor = Processor(
            loaded,
            settings,
            Telling(monitor, metrics.client_statistics),
            is_registering=options.is_registering,
            start=options.start,
        )
        targets = processor.targets() if options.until_end else None
        began_s = SYSTEM.monotonic()
        try:
            with _stopping_on_signals(processor, health):
                health.started()
                processor.loop.run(targets, on_progress=_progress(processor, targets, on_progress))
        except FencedError:
            metrics.fenced()
            raise
        finally:
            processor.close()
            summary.seconds = SYSTEM.monotonic() - began_s
    log.info("run.drained", read=summary.read, written=summary.written.total())
    return summary


@contextmanager
def _stopping_on_signals(processor: Processor, health: Health) -> Iterator[None]:
    def stop(number: int, _frame: object) -> None:
        log.info("run.draining", signal=signal.Signals(number).name)
        health.draining()
        processor.loop.stop()

    previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _progress(
    processor: Processor, targets: Positions | None, on_progress: OnProgress | None
) -> Callable[[Positions], None] | None:
    if on_progress is None or targets is None:
        return None
    begun = processor.standing()
    total = sum(max(0, end - begun[p]) for p, end in targets.items())

    def tell(committed: Positions) -> None:
        on_progress(sum(max(0, p_end - begun[p]) for p, p_end in committed.items()), total)

    return tell
