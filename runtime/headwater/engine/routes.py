"""The routes of a task: what comes of decoded rows, and which of them are refused on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from headwater.contract import Encoded, Encoder, Rules
from headwater.engine.given import Given
from headwater.engine.repartition import PLACE, Repartition
from headwater.engine.rulings import Rulings
from headwater.engine.screening import oversized
from headwater.engine.suspects import Doubt, Suspect, Suspicion, certain
from headwater.engine.watermarks import Watermarks, least
from headwater.errors import ResultRefusedError, RuleBrokenError
from headwater.flow import MAX_ROWS, Batch, Plan, Processed, check_row_local
from headwater.model import Headers, RuleViolation
from headwater.state import KeyedStore

GROWTH: Final = 2  # doublings: all proofs together cost about two of the largest


@dataclass(frozen=True, slots=True)
class Route:
    """One output, or repartition topic, of one input: the plan between, and how rows are written.

    `source` is the place of the contract it reads among those of the input; `headers` are those of
    each record it publishes. `stores` are those of the plan.
    """

    topic: str
    plan: Plan
    encoder: Encoder | Repartition
    source: int = 0
    headers: Headers = ()
    stores: Sequence[KeyedStore] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """What the routes made of a piece of a batch, and the rows they refused.

    `broken_off` are the results that were refused; the rest of their routes was not run.
    """

    encoded: list[tuple[Route, Encoded]] = field(default_factory=list)
    suspects: list[Suspect] = field(default_factory=list)
    violations: list[RuleViolation] = field(default_factory=list)
    too_late: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    superseded: dict[str, int] = field(default_factory=dict)
    unordered: dict[str, int] = field(default_factory=dict)
    broken_off: list[ResultRefusedError] = field(default_factory=list)

    def count_dropped(self, topic: str, processed: Processed) -> None:
        """Add the rows that steps of a route dropped, by `<topic>.<step>`."""
        for counts, dropped in (
            (self.too_late, processed.late),
            (self.duplicates, processed.duplicates),
            (self.superseded, processed.superseded),
            (self.unordered, processed.unordered),
        ):
            counts |= {f"{topic}.{step}": rows for step, rows in dropped.items()}

    def certain(self, records: int) -> list[Suspect]:
        """The refused ones of so many records, for which the piece is to be run again."""
        of_records = [each for each in self.suspects if each.row < records]
        return certain(of_records, are_all_known=not self.broken_off or records == 1)

    def refuse_results(self, topic: str, records: int) -> None:
        """Only when no record is left to be refused: because of one, a result may be what it is.

        Raises ResultRefusedError, also for a rule that stops the product: RuleBrokenError is of a
        record, and whoever meets it looks for that one.
        """
        for error in self.broken_off:
            raise error
        for why in (each.why for each in self.suspects if each.row >= records):
            if isinstance(why, RuleBrokenError):
                raise ResultRefusedError(str(why), code=why.code) from why
            raise ResultRefusedError(
                f"{why.step} refuses what was computed of several records of {topic} "
                f"({why.message}), and no single one can be set aside for it; nothing of its "
                "transaction is published. Correct the step or the contract, then start again",
                code=why.code.value,
            )


class Routes:
    """Runs all routes of an input on its rows.

    `beside` are the watermarks of the input that a route's rows are joined with, by its topic.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self.beside: dict[str, Watermarks] = {}
        self.stores: Final = [store for each in routes for store in each.stores]
        encoders = [each.encoder for each in routes]
        self.repartitions: Final = [each for each in encoders if isinstance(each, Repartition)]
        plans = [each.plan for each in routes]
        self.ask_of_records: Final = any(each.asks_of_records for each in plans)
        self.need_watermarks: Final = any(map(_needs_watermarks, routes))
        self._is_only_state = sum(bool(each.stateful) for each in plans) == 1
        self._rules = {
            each.topic: Rules(each.encoder.contract)
            for each in routes
            if isinstance(each.encoder, Encoder)
        }
        self._rows_proven: dict[str, int] = {}

    def run(self, piece: Given, batch: Batch) -> Run:
        """Every route on the rows of its type.

        Raises DeclarationError (`BATCH_DEPENDENT`) where a step depends on batch boundaries, and
        RuleBrokenError for a rule that a record breaks by itself.
        """
        run, rulings = Run(), Rulings(piece.records)
        self._prove_row_local(piece, batch)
        for route in self._routes:
            try:
                self._run(route, piece, batch, rulings, run)
            except ResultRefusedError as error:
                run.broken_off.append(error)
        return run

    def _run(self, route: Route, piece: Given, batch: Batch, rulings: Rulings, run: Run) -> None:
        beside = self.beside.get(route.topic)
        seen = batch if beside is None else least(batch, beside)
        processed = route.plan.process(piece.frames[route.source], seen)
        suspicion = self._suspicion(route, batch, processed)
        run.count_dropped(route.topic, processed)
        if isinstance(route.encoder, Repartition):
            published = route.encoder.encode(processed.frame, batch, piece.lineage.select(PLACE))
        else:
            published = route.encoder.encode(processed.frame)
            suspicion.refused(published.quarantined)
            rules = self._rules[route.topic]
            run.violations.extend(suspicion.judge(rulings, rules, processed.frame))
        suspicion.refused(oversized(published))
        run.suspects.extend(suspicion.found)
        run.encoded.append((route, published))

    def _suspicion(self, route: Route, batch: Batch, processed: Processed) -> Suspicion:
        if not self.need_watermarks:
            doubt = Doubt.NONE  # no record meets anything of another
        else:
            doubt = Doubt.ALL if _needs_watermarks(route) else Doubt.OTHERS
        return Suspicion(batch, processed, doubt, is_only_state=self._is_only_state)

    def skip_proofs(self) -> None:
        """Take the steps as proven: another process proves them, and a proof runs them often."""
        self._rows_proven = dict.fromkeys((route.topic for route in self._routes), MAX_ROWS)

    def _prove_row_local(self, piece: Given, batch: Batch) -> None:
        """Promise 4, on real data, before anything of it is published.

        Asked again when batches grow: `head(500)` harms no batch of 100.
        """
        for route in self._routes:
            frame, proven = piece.frames[route.source], self._rows_proven.get(route.topic, 0)
            if proven < MAX_ROWS and frame.height >= GROWTH * proven:
                check_row_local(route.plan, frame, batch)
                self._rows_proven[route.topic] = frame.height


def _needs_watermarks(route: Route) -> bool:
    """A row is moved with how far event time was, which is written by what came before."""
    return route.plan.needs_watermarks or isinstance(route.encoder, Repartition)
