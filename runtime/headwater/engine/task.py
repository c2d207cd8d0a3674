"""From records to what a transaction publishes: screen, decode, ask the rules, run, encode.

All or nothing per input record.

Never touches Kafka, never raises for bad data.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Final

import polars as pl

from headwater.contract import (
    Decoder,
    Encoded,
    KeyReader,
    Rules,
    TopicDecoder,
    schema_headers,
    size_of,
)
from headwater.engine.dead_letters import LetterWriter
from headwater.engine.given import TIME, Given
from headwater.engine.halting import rows_before, unreadable
from headwater.engine.pieces import Pieces
from headwater.engine.repartition import PLACE
from headwater.engine.routes import Route, Routes, Run
from headwater.engine.rulings import Rulings, counted_together
from headwater.engine.screening import screen, screen_keys
from headwater.engine.selection import NoRecords, Selection
from headwater.engine.suspects import SetAside
from headwater.engine.watermarks import Standing, Watermarks
from headwater.engine.work import Publication, Work, joined
from headwater.flow import (
    NO_BATCH,
    Batch,
    event_times,
)
from headwater.model import Halt, OnIncompatible, Positions, Quarantine
from headwater.ports import Records
from headwater.state import Changes, KeyedStore

NOT_MOVED: Final[Mapping[int, int]] = {}


@dataclass(frozen=True, slots=True)
class InputPolicy:
    """What becomes of records that are no bad records: null values, and unreadable schemas.

    And how long event time waits for a partition that brings none, in seconds; None for ever.
    `keeps_event_time`: watermarks are kept though no step asks for them.
    """

    skip_tombstones: bool = False
    on_incompatible: OnIncompatible = "dead-letter"
    idle_after_s: float | None = None
    keeps_event_time: bool = False


BAD_RECORDS_ONLY: Final = InputPolicy()


class Task:
    """Processes the records of one input topic.

    `keys` read the keys of each type of event, in the order of the contracts; none where they mean
    nothing. `watermarks` are those of its tasks; None where no step has state, unless
    they are kept all the same.
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
        self.routes = Routes(routes)
        self._dead_letters = dead_letters
        if self.routes.need_watermarks or policy.keeps_event_time:
            self.watermarks = Watermarks(policy.idle_after_s)

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        """The work of these records; of those known to be `guilty`, nothing is looked into.

        In parts, where the columns of all of it at once might be too large.
        Raises RetriableError when a schema cannot be had now, and DeclarationError
        (`BATCH_DEPENDENT`) when a batch shows that a step depends on batch boundaries, and
        RuleBrokenError when a rule of severity `stop` is broken, and ResultRefusedError when a row
        is refused that no record made, or a result is too large.
        What it changes in stores and watermarks is their batch, to be kept or dropped.
        """
        self._drop()
        size = size_of(records.values)
        works: list[Work] = []
        halts: list[Halt] = []
        for part in self._parts(records, size):
            left = set(rows_before(records, halts)).intersection(part) if halts else part
            works.append(self._part(records, sorted(left) if halts else part, guilty))
            halts += works[-1].halts
        if halts:
            size = size_of([records.values[row] for row in rows_before(records, halts)])
        return replace(joined(works), size=size, changes=self._heartbeats())

    def move(self, standings: Mapping[int, Standing], at: Positions) -> Work:
        """The work of watermarks that move without records, to be committed at these positions.

        Raises as `process` does.
        """
        self._drop()
        (topic,) = {partition.topic for partition in at}
        reached = {} if self.watermarks is None else self.watermarks.move(standings)
        work = self._run(self._given(NoRecords(topic), ()), reached)
        return replace(work, ends=at, changes=self._heartbeats())

    def _heartbeats(self) -> Mapping[str, Changes]:
        """How far event time has come, for those who read the repartition topics."""
        moved = {} if self.watermarks is None else self.watermarks.staged()
        if not moved:
            return {}
        return {each.topic: each.heartbeats(moved) for each in self.routes.repartitions}

    def skip_proofs(self) -> None:
        """Take the steps as proven: another process proves them."""
        self.routes.skip_proofs()

    # -- what was done, taken back or taken as done ----------------------------------------------

    def _drop(self) -> None:
        """What was done for the batch never was."""
        for each in self._state():
            each.drop()

    def _savepoint(self) -> None:
        """What was done for the batch so far stands."""
        for each in self._state():
            each.savepoint()

    def _rollback(self) -> None:
        """What was done for the batch since the savepoint never was."""
        for each in self._state():
            each.rollback()

    def _state(self) -> Sequence[KeyedStore | Watermarks]:
        stores = self.routes.stores
        return stores if self.watermarks is None else [*stores, self.watermarks]

    # -- decode ----------------------------------------------------------------------------------

    def _parts(self, records: Records, size: int) -> Sequence[Sequence[int]]:
        """The rows to be in memory at one time as columns, mostly all; so many bytes are given."""
        if self._expansion.bounds(len(records), size):
            return [range(len(records))]
        return self._expansion.pieces(records.values)

    def _part(self, records: Records, rows: Sequence[int], guilty: Sequence[Quarantine]) -> Work:
        """The work of some of the records, or of all."""
        if len(rows) == len(records):
            given = self._given(records, guilty)
        else:
            places = {row: place for place, row in enumerate(rows)} if guilty else {}
            mine = [replace(each, row=places[each.row]) for each in guilty if each.row in places]
            given = self._given(Selection(records, rows), mine)
        if given.halts:
            # the rest of their partitions is not read
            before = [rows[place] for place in rows_before(given.records, given.halts)]
            return replace(self._part(records, before, guilty), halts=given.halts)
        return self._run(given).moved(rows, len(records))

    def _given(self, records: Records, guilty: Sequence[Quarantine]) -> Given:
        """What the routes get of these records: the rows that are sound by themselves."""
        held = records.headers()
        refused = [*guilty, *screen(records, held)]
        values, headers = _without(records.values, refused), schema_headers(held)
        decoded = self._decoder.decode(values, headers)
        if decoded.unreadable and self._policy.on_incompatible != "dead-letter":
            return Given(records, halts=unreadable(records, decoded))
        rulings = Rulings(records)
        frames, unsound = self._sound(rulings, records, decoded.frames)
        return Given(
            records,
            frames,
            [*refused, *decoded.quarantined, *unsound],
            self._lineage(records, frames),
            len(decoded.skipped),
            rulings.violations,
        )

    def _lineage(self, records: Records, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Where each record stands and its event time; nothing where no step asks."""
        if not self.routes.ask_of_records and self.watermarks is None:
            return pl.DataFrame()
        names = [rules.contract.event_time for rules in self._rules]
        place = (
            pl.Series(each, dtype=pl.Int64) for each in (records.partitions(), records.offsets())
        )
        times = event_times(len(records), frames, names)
        return pl.DataFrame(dict(zip((*PLACE, TIME), (*place, times), strict=True)))

    # -- run -------------------------------------------------------------------------------------

    def _run(self, given: Given, reached: Mapping[int, int] = NOT_MOVED) -> Work:
        """Every row through the routes, in one piece if nothing is refused behind state.

        Else steps with state saw rows that are none: what is refused for certain is taken out, as
        if it had never come, and the rest is run again, from the last savepoint on.
        """
        pieces, aside, works = Pieces(len(given.records)), SetAside(), list[Work]()
        while not pieces.are_done:
            piece = given.part(pieces.rows, aside.found)
            run = self.routes.run(piece, self._batch(piece, reached))
            if refused := run.certain(len(piece.records)):
                self._rollback()
                first = aside.take(refused, piece.records, pieces.rows.start)
                if first is not None:
                    pieces.refused_at(first)
            elif run.broken_off and len(piece.records) > 1:
                self._rollback()
                pieces.halve()
            else:
                run.refuse_results(given.records.topic, len(piece.records))
                self._savepoint()
                works.append(self._work(piece, run).moved(pieces.rows, len(given.records)))
                pieces.pass_on()
        work = joined(works)
        violations = [*given.violations, *aside.violations, *work.violations]
        return replace(
            work,
            ends=given.records.ends(),
            skipped=work.skipped + given.skipped,
            violations=counted_together(violations),
        )

    def _batch(self, given: Given, reached: Mapping[int, int]) -> Batch:
        """What steps may know of the records; nothing where none asks."""
        if given.lineage.is_empty() and self.watermarks is None:
            return NO_BATCH
        tasks, offsets, times = given.lineage.select(*PLACE, TIME)
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

    def _work(self, given: Given, run: Run) -> Work:
        """All or nothing: of a record that anything refused, no output; of several reasons one."""
        records = given.records
        reasons = (each.why for each in run.suspects if each.row < len(records))
        refused = [each for each in reasons if isinstance(each, Quarantine)]
        bad = {each.row: each for each in reversed([*given.refused, *refused])}
        skipped = self._tombstones(records, bad) if bad else ()
        found = [each for row, each in bad.items() if row not in skipped]
        return Work(
            topic=records.topic,
            read=len(records),
            size=0,  # this and the ends are told of all records together
            ends={},
            publications=[_publication(route, published, bad) for route, published in run.encoded],
            dead_letters=self._dead_letters.topic,
            letters=self._dead_letters.letters(records, found) if found else (),
            codes=Counter(each.code for each in found),
            skipped=len(skipped),
            letter_rows=sorted(each.row for each in found),
            violations=run.violations,
            too_late=run.too_late,
            duplicates=run.duplicates,
            superseded=run.superseded,
            unordered=run.unordered,
            is_internal=self.is_internal,
        )

    def _tombstones(self, records: Records, bad: Mapping[int, Quarantine]) -> Collection[int]:
        """The rows of null values, where a stream over a compacted topic counts and skips them."""
        if not self._policy.skip_tombstones:
            return ()
        values = records.values
        return frozenset(row for row in bad if values[row] is None)


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
