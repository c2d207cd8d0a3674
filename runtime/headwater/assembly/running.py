"""Runs a product in this process: signals, probes and metrics around the loop."""

import signal
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from headwater.assembly.arenas import limit_arenas
from headwater.assembly.collection import rare_collections
from headwater.assembly.gate import fate_of, today
from headwater.assembly.processor import Processor, Telling
from headwater.assembly.project import LoadedProduct
from headwater.assembly.step_bound import bounded
from headwater.assembly.supervisor import is_orphaned
from headwater.assembly.workers import own_number
from headwater.clock import SYSTEM
from headwater.config import Settings
from headwater.engine import Loop, Start
from headwater.errors import FencedError
from headwater.model import Code, OnIncompatible, Positions, RestoreStanding, RuleViolation
from headwater.observe.health import Health
from headwater.observe.logs import bind_process, get_logger
from headwater.observe.metrics import Metrics
from headwater.observe.monitor import ProcessMonitor
from headwater.reader.backfill import Backfill
from headwater.serve import start as serve

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
OnProgress = Callable[[int, int], None]
OnRestoring = Callable[[Sequence[RestoreStanding]], None]

log = get_logger("run")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What an operator may ask of one run. The end of a backfill is its cut."""

    until_end: bool = False
    is_registering: bool = False
    start: Start | Backfill | None = None
    on_incompatible: OnIncompatible | None = None

    def applied_to(self, settings: Settings) -> Settings:
        """The settings as this run wants them."""
        if self.on_incompatible is None:
            return settings
        return settings.model_copy(update={"on_incompatible": self.on_incompatible})


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule of the contract of an input or an output, `topic`, that records of a run broke."""

    topic: str
    rule: str
    severity: str


@dataclass(slots=True)
class Summary:
    """What one run committed: records read, written per topic, quarantined per code, rules broken.

    `skipped` are those read that the product does not take; `late` the rows dropped because they
    came late, by `<output>.<step>`, `duplicates` because they had come already, and
    `unordered` because the column that orders them is null.
    `was_stopped` when a signal ended it, be it before the end or not. `worker` is the number of
    the process among those of the product, None when it is alone.
    """

    product: str
    worker: int | None = None
    read: int = 0
    skipped: int = 0
    late: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    unordered: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    codes: Counter[Code] = field(default_factory=Counter)
    rules: Counter[BrokenRule] = field(default_factory=Counter)
    transactions: int = 0
    seconds: float = 0.0
    was_stopped: bool = False


class _SummingMonitor(ProcessMonitor):
    """Also adds up what was committed, for the summary at the end."""

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        summary: Summary,
        own: Collection[str],
        on_restoring: OnRestoring | None,
    ) -> None:
        super().__init__(metrics, health)
        self._summary = summary
        self._own = own  # topics that the product reads and writes itself
        self._on_restoring = on_restoring

    def restoring(self, standings: Sequence[RestoreStanding]) -> None:
        super().restoring(standings)
        if self._on_restoring is not None:
            self._on_restoring(standings)

    def counted(
        self, *, read: Mapping[str, int], written: Mapping[str, int], codes: Mapping[Code, int]
    ) -> None:
        super().counted(read=read, written=written, codes=codes)
        self._summary.read += sum(n for topic, n in read.items() if topic not in self._own)
        self._summary.written.update({t: n for t, n in written.items() if t not in self._own})
        self._summary.codes.update(codes)

    def skipped(self, records: Mapping[str, int]) -> None:
        super().skipped(records)
        self._summary.skipped += sum(records.values())

    def late(self, rows: Mapping[str, int]) -> None:
        super().late(rows)
        self._summary.late.update(rows)

    def duplicates(self, rows: Mapping[str, int]) -> None:
        super().duplicates(rows)
        self._summary.duplicates.update(rows)

    def unordered(self, rows: Mapping[str, int]) -> None:
        super().unordered(rows)
        self._summary.unordered.update(rows)

    def rules_broken(self, violations: Sequence[RuleViolation]) -> None:
        super().rules_broken(violations)
        for each in violations:
            rule = BrokenRule(each.topic, each.rule, each.severity)
            self._summary.rules[rule] += each.records

    def ended(self, ending: str, seconds: float) -> None:
        super().ended(ending, seconds)
        self._summary.transactions += ending == "committed"


def run_product(
    loaded: LoadedProduct,
    settings: Settings,
    options: RunOptions,
    on_progress: OnProgress | None = None,
    on_restoring: OnRestoring | None = None,
) -> Summary:
    """Run until a stop signal, or until the end that is asked for; returns what was committed.

    `on_progress(done, total)` hears of records read, `total` being 0 for an endless run;
    `on_restoring` of state that is restored.
    Raises every error of `Loop.run`, and what `Processor` refuses.
    """
    limit_arenas()
    product = loaded.name
    bind_process(product=product, instance=settings.instance, worker=str(own_number() or 0))
    metrics, health, summary = Metrics(product), Health(), Summary(product, own_number())
    monitor = _SummingMonitor(metrics, health, summary, loaded.repartitions, on_restoring)
    _warn_of_fates(loaded)
    for topic, contract in {**loaded.inputs, **loaded.outputs}.items():
        for rule in contract.rules:
            metrics.rule(topic, rule.name, rule.severity)
    with (
        _Stop(health) as stop,
        serve(health, metrics.registry, settings.metrics.host, settings.metrics.port) as server,
        rare_collections(),
    ):
        log.info("run.serving", host=settings.metrics.host, port=server.port)
        processor = Processor(
            bounded(loaded, settings.step_timeout.total_seconds()),
            options.applied_to(settings),
            Telling(monitor, metrics.client_statistics),
            is_registering=options.is_registering,
            start=options.start,
        )
        targets = processor.targets() if options.until_end else None
        tell = _progress(processor, targets, on_progress)

        def turned(committed: Positions) -> None:
            stop.when_orphaned()
            tell(committed)

        began_s = SYSTEM.monotonic()
        try:
            stop.hand_over_to(processor.loop)
            health.started()
            processor.loop.run(targets, on_progress=turned)
        except FencedError:
            metrics.fenced()
            raise
        finally:
            processor.close()
            summary.seconds = SYSTEM.monotonic() - began_s
            summary.was_stopped = stop.was_asked
    log.info("run.drained", read=summary.read, written=summary.written.total())
    return summary


def _warn_of_fates(loaded: LoadedProduct) -> None:
    for contract in loaded.inputs.values():
        if (fate := fate_of(contract, today())) is not None:
            log.warning(
                "run.deprecated_input",
                topic=contract.topic,
                contract=contract.version,
                fate=fate,
                instead=contract.deprecated,
            )


class _Stop:
    """Hears SIGTERM and Ctrl-C from before the first connection on, and drains the loop then."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._loop: Loop | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self.was_asked = False

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._hear) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def hand_over_to(self, loop: Loop) -> None:
        """Stop this loop from now on; at once when the signal came before."""
        self._loop = loop
        if self.was_asked:
            loop.stop()

    def when_orphaned(self) -> None:
        """A child whose supervisor was killed drains: nobody watches it any more."""
        if is_orphaned():
            self._ask("the supervisor is gone")

    def _hear(self, number: int, _frame: object) -> None:
        self._ask(signal.Signals(number).name)

    def _ask(self, reason: str) -> None:
        if not self.was_asked:
            log.info("run.draining", reason=reason)
        self.was_asked = True
        self._health.draining()
        if self._loop is not None:
            self._loop.stop()


def _progress(
    processor: Processor, targets: Positions | None, on_progress: OnProgress | None
) -> Callable[[Positions], None]:
    if on_progress is None or targets is None:
        return lambda _: None
    begun = processor.standing()
    total = sum(max(0, end - begun[p]) for p, end in targets.items())

    def tell(committed: Positions) -> None:
        on_progress(sum(max(0, committed.get(p, 0) - begun[p]) for p in targets), total)

    return tell
