"""From records to what a transaction publishes: screen, decode, ask the rules, run, encode.

All or nothing per input record.

Never touches Kafka, never raises for bad data.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Final

import polars as pl

from headwater.contract import (
    Decoder,
    Encoded,
    Encoder,
    KeyReader,
    Rules,
    TopicDecoder,
    schema_headers,
    size_of,
)
from headwater.engine.dead_letters import LetterWriter
from headwater.engine.halting import OnIncompatible, rows_before, unreadable
from headwater.engine.repartition import PLACE, Repartition
from headwater.engine.rulings import Rulings
from headwater.engine.screening import oversized, screen, screen_keys
from headwater.engine.selection import NoRecords, Selection
from headwater.engine.suspects import Depends, Suspect, Suspicion, certain, violations_of
from headwater.engine.watermarks import Standing, Watermarks, least
from headwater.engine.work import Publication, Work, joined
from headwater.errors import ResultRefusedError, RuleBrokenError
from headwater.flow import (
    MAX_ROWS,
    NO_BATCH,
    Batch,
    Plan,
    Processed,
    check_row_local,
    event_times,
)
from headwater.model import Halt, Headers, Positions, Quarantine, RuleViolation
from headwater.ports import Records
from headwater.state import Changes, KeyedStore

NOT_MOVED: Final[Mapping[int, int]] = {}
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
class InputPolicy:
    """What becomes of records that are no bad records: null values, and unreadable schemas.

    And how long event time waits for a partition that brings none, in seconds; None for ever.
    """

    skip_tombstones: bool = False
    on_incompatible: OnIncompatible = "dead-letter"
    idle_after_s: float | None = None


BAD_RECORDS_ONLY: Final = InputPolicy()


@dataclass(frozen=True, slots=True)
class _Done:
    """What the routes made of a batch, and the rows they refused."""

    encoded: list[tuple[Route, Encoded]]
    suspects: list[Suspect]
    violations: Sequence[RuleViolation]
    has_batch: bool
    too_late: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)


class Task:
    """Processes the records of one input topic.

    `keys` read the keys of each type of event, in the order of the contracts; none where they mean
    nothing. `watermarks` are those of its tasks; None where no step has state.
    """

    watermarks: Watermarks | None = None
    _policy: InputPolicy = BAD_RECORDS_ONLY
    is_internal = False
    """Whether the topic is a repartition topic, which this product writes itself."""

    def __init__(
        self,
        decoder: Decoder | TopicDecoder,
        routes: Sequence[Route],
        *,
        dead_letters: LetterWriter,
        keys: Sequence[KeyReader] = (),
        policy: InputPolicy = BAD_RECORDS_ONLY,
    ) -> None:
        self._decoder = decoder if isinstance(decoder, TopicDecoder) else TopicDecoder([decoder])
        self._expansion = self._decoder.expansion
        self._keys = keys
        self._policy = policy
        self._rules = [Rules(contract) for contract in self._decoder.contracts]
        self._take_routes(routes, dead_letters)
        if self._repartitions or any(each.plan.needs_watermarks for each in routes):
            self.watermarks = Watermarks(policy.idle_after_s)

    def _take_routes(self, routes: Sequence[Route], dead_letters: LetterWriter) -> None:
        self._routes = routes
        self.beside: dict[str, Watermarks] = {}
        """Those of the input that a route's rows are joined with, by the route's topic."""
        self._asks = any(each.plan.asks_of_records for each in routes)
        self._dead_letters = dead_letters
        self._repartitions = [r.encoder for r in routes if isinstance(r.encoder, Repartition)]
        self._is_only_state = sum(bool(each.plan.stateful) for each in routes) == 1
        self._stores = [store for each in routes for store in each.stores]
        self._output_rules = {
            each.topic: Rules(each.encoder.contract)
            for each in routes
            if isinstance(each.encoder, Encoder)
        }
        self._rows_proven: dict[str, int] = {}

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        """The work of these records; of those known to be `guilty`, nothing is looked into.

        In pieces, where the columns of all of it at once might be too large.
        Raises RetriableError when a schema cannot be had now, and DeclarationError
        (`BATCH_DEPENDENT`) when a batch shows that a step depends on batch boundaries, and
        RuleBrokenError when a rule of severity `stop` is broken, and ResultRefusedError when a row
        is refused that no record made.
        What it changes in stores and watermarks is their batch, to be kept or dropped.
        """
        found, rejected = list(guilty), list[Suspect]()
        while True:
            self._drop()
            work = self._attempt(records, found)
            late = [each for each in work.late if each.row < len(records)]
            if not late:
                _refuse_results(work)
                told = [*violations_of(rejected), *work.violations]
                return replace(work, violations=told, changes=self._heartbeats())
            # steps with state saw rows that are none: as if they had never come
            taken = certain(late)
            found += [each.why for each in taken if isinstance(each.why, Quarantine)]
            rejected += taken

    def move(self, standings: Mapping[int, Standing], at: Positions) -> Work:
        """The work of watermarks that move without records, to be committed at these positions.

        Raises as `process` does.
        """
        self._drop()
        (topic,) = {partition.topic for partition in at}
        reached = {} if self.watermarks is None else self.watermarks.move(standings)
        work = self._process(NoRecords(topic), (), 0, reached)
        _refuse_results(work)
        return replace(work, ends=at, changes=self._heartbeats())

    def _heartbeats(self) -> Mapping[str, Changes]:
        """How far event time has come, for those who read the repartition topics."""
        moved = {} if self.watermarks is None else self.watermarks.staged()
        if not moved:
            return {}
        return {each.topic: each.heartbeats(moved) for each in self._repartitions}

    def _drop(self) -> None:
        """What was done for the batch never was."""
        for store in self._stores:
            store.drop()
        if self.watermarks is not None:
            self.watermarks.drop()

    def _attempt(self, records: Records, guilty: Sequence[Quarantine]) -> Work:
        """In one piece, or in several."""
        if self._expansion.bounds(len(records), size := size_of(records.values)):
            return self._process(records, guilty, size)
        works: list[Work] = []
        halts: list[Halt] = []
        for piece in self._expansion.pieces(records.values):
            left = set(rows_before(records, halts)).intersection(piece) if halts else piece
            works.append(self._part(records, sorted(left), guilty))
            halts += works[-1].halts
        return joined(works)

    def _process(
        self,
        records: Records,
        guilty: Sequence[Quarantine],
        size: int,
        reached: Mapping[int, int] = NOT_MOVED,
    ) -> Work:
        held = records.headers()
        refused = [*guilty, *screen(records, held)]
        values, headers = _without(records.values, refused), schema_headers(held)
        decoded = self._decoder.decode(values, headers)
        if decoded.unreadable and self._policy.on_incompatible != "dead-letter":
            return self._halting(records, unreadable(records, decoded), guilty)
        rulings = Rulings(records)
        frames, unsound = self._sound(rulings, records, decoded.frames)
        batch = self._batch(records, frames, reached)
        self._prove_row_local(frames, batch)
        places = pl.DataFrame(dict(zip(PLACE, (batch.tasks, batch.offsets), strict=True)))
        done = self._run(frames, batch, rulings, places)
        work = self._work(records, done, [*refused, *decoded.quarantined, *unsound], size)
        return replace(work, skipped=work.skipped + len(decoded.skipped))

    def _run(
        self,
        frames: Sequence[pl.DataFrame],
        batch: Batch,
        rulings: Rulings,
        places: pl.DataFrame,
    ) -> "_Done":
        """Every route on the rows of its type; `places` are where the records stand in the input.

        They are asked for by repartition topics only.
        """
        done = _Done([], [], rulings.violations, self.watermarks is not None)
        for route in self._routes:
            beside = self.beside.get(route.topic)
            seen = batch if beside is None else least(batch, beside)
            processed = route.plan.process(frames[route.source], seen)
            suspicion = self._suspicion(route, batch, processed)
            for step, rows in processed.late.items():
                done.too_late[f"{route.topic}.{step}"] = rows
            for step, rows in processed.duplicates.items():
                done.duplicates[f"{route.topic}.{step}"] = rows
            if isinstance(route.encoder, Repartition):
                published = route.encoder.encode(processed.frame, batch, places)
            else:
                published = route.encoder.encode(processed.frame)
                suspicion.refused(published.quarantined)
                suspicion.judge(rulings, self._output_rules[route.topic], processed.frame)
            suspicion.refused(oversized(published))
            done.suspects.extend(suspicion.found)
            done.encoded.append((route, published))
        return done

    def _suspicion(self, route: Route, batch: Batch, processed: Processed) -> Suspicion:
        """A row with how far event time was when it was moved is written by what came before."""
        has_marks = route.plan.needs_watermarks or isinstance(route.encoder, Repartition)
        depends = Depends.STATE if has_marks else Depends.ITSELF
        return Suspicion(batch, processed, depends, is_only_state=self._is_only_state)

    def _batch(
        self, records: Records, frames: Sequence[pl.DataFrame], reached: Mapping[int, int]
    ) -> Batch:
        """What steps may know of the records; nothing where none asks."""
        if not self._asks and self.watermarks is None:
            return NO_BATCH
        tasks = pl.Series(records.partitions(), dtype=pl.Int64)
        offsets = pl.Series(records.offsets(), dtype=pl.Int64)
        names = [rules.contract.event_time for rules in self._rules]
        times = event_times(len(records), frames, names)
        if self.watermarks is None:
            return Batch(tasks, offsets, times)
        marks, moved = self.watermarks.observe(tasks, times)
        return Batch(tasks, offsets, times, marks, {**reached, **moved})

    def _sound(
        self, rulings: Rulings, records: Records, decoded: Sequence[pl.DataFrame]
    ) -> tuple[list[pl.DataFrame], list[Quarantine]]:
        """The rows of each type whose keys are sound and that no rule rejects, and the others."""
        frames: list[pl.DataFrame] = []
        quarantined: list[Quarantine] = []
        if self._keys:
            decoded, quarantined = screen_keys(self._keys, records, decoded)
        for rules, frame in zip(self._rules, decoded, strict=True):
            sound, broken = rulings.sound(rules, frame)
            frames.append(sound)
            quarantined += broken
        return frames, quarantined

    def skip_proofs(self) -> None:
        """Take the steps as proven: another process proves them, and a proof runs them often."""
        self._rows_proven = dict.fromkeys((route.topic for route in self._routes), MAX_ROWS)

    def _halting(
        self, records: Records, halts: Sequence[Halt], guilty: Sequence[Quarantine]
    ) -> Work:
        """The work of the records before the halts; the rest of their partitions is not read."""
        work = self._part(records, rows_before(records, halts), guilty)
        return replace(work, halts=halts)

    def _part(self, records: Records, rows: Sequence[int], guilty: Sequence[Quarantine]) -> Work:
        """The work of some of the records."""
        part = Selection(records, rows)
        places = {row: place for place, row in enumerate(rows)} if guilty else {}
        moved = [replace(each, row=places[each.row]) for each in guilty if each.row in places]
        work = self._process(part, moved, size_of(part.values))
        return work.moved([*rows, len(records)])  # behind the last: a row that no record made

    def _work(
        self,
        records: Records,
        done: "_Done",
        quarantined: Sequence[Quarantine],
        size: int,
    ) -> Work:
        """All or nothing: of a record that anything refused, no output; of several reasons one."""
        refused = (each.why for each in done.suspects if each.row < len(records))
        of_records = [each for each in refused if isinstance(each, Quarantine)]
        bad = {each.row: each for each in reversed([*quarantined, *of_records])}
        skipped = self._tombstones(records, bad) if bad else ()
        found = [each for row, each in bad.items() if row not in skipped]
        return Work(
            topic=records.topic,
            read=len(records),
            size=size,
            ends=records.ends(),
            publications=[_publication(route, published, bad) for route, published in done.encoded],
            dead_letters=self._dead_letters.topic,
            letters=self._dead_letters.letters(records, found) if found else (),
            codes=Counter(each.code for each in found),
            skipped=len(skipped),
            letter_rows=sorted(each.row for each in found),
            violations=done.violations,
            late=done.suspects if done.has_batch else [],
            too_late=done.too_late,
            duplicates=done.duplicates,
        )

    def _prove_row_local(self, frames: Sequence[pl.DataFrame], batch: Batch) -> None:
        """Promise 4, on real data, before anything of it is published.

        Asked again when batches grow: `head(500)` harms no batch of 100.
        """
        for route in self._routes:
            frame, proven = frames[route.source], self._rows_proven.get(route.topic, 0)
            if proven < MAX_ROWS and frame.height >= GROWTH * proven:
                check_row_local(route.plan, frame, batch)
                self._rows_proven[route.topic] = frame.height

    def _tombstones(self, records: Records, bad: Mapping[int, Quarantine]) -> Collection[int]:
        """The rows of null values, where a stream over a compacted topic counts and skips them."""
        if not self._policy.skip_tombstones:
            return ()
        values = records.values
        return frozenset(row for row in bad if values[row] is None)


def _refuse_results(work: Work) -> None:
    """All that is left to refuse are rows of no record. Raises ResultRefusedError."""
    for why in (each.why for each in work.late):
        if isinstance(why, RuleBrokenError):
            raise why
        raise ResultRefusedError(
            f"{why.step} refuses what was computed of several records of {work.topic} "
            f"({why.message}), and no single one can be set aside for it; nothing of its "
            "transaction is published. Correct the step or the contract, then start again",
            code=why.code.value,
        )


def _without(
    values: Sequence[bytes | None], refused: Sequence[Quarantine]
) -> Sequence[bytes | None]:
    """The values with null in the place of those refused: the decoder sees none of their bytes."""
    if not refused:
        return values
    kept = list(values)
    for each in refused:
        kept[each.row] = None
    return kept


def _publication(route: Route, encoded: Encoded, bad: Mapping[int, Quarantine]) -> Publication:
    """All or nothing: no output of a record that any output refused (promise 1)."""
    keys, values, rows = encoded.keys, encoded.values, encoded.rows
    if bad and (refused := rows.is_in(pl.Series(list(bad), dtype=rows.dtype).implode())).any():
        kept = (~refused).to_list()
        keys, values = list(compress(keys, kept)), list(compress(values, kept))
        rows = rows.filter(~refused)
    return Publication(route.topic, keys, values, rows, route.headers)
