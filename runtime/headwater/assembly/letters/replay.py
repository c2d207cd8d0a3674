"""Replay of dead letters through the current release of their product, each exactly once.

First every letter is processed without publishing, to learn the keys of what would come out; then
the output logs are read for newer records of those keys; then batch after batch is published with
the marks that resolve it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from headwater.assembly.audit import Action, Mark, Place
from headwater.assembly.letters.box import DeadLetterBox, OnProgress, Refused, Selection
from headwater.assembly.letters.ledger import Ledger
from headwater.assembly.letters.newer import Overtaking
from headwater.assembly.letters.order import Stalled, whole_chains
from headwater.assembly.letters.work import (
    LetterBatch,
    LetterWork,
    Release,
    SetAside,
    place_of,
)
from headwater.engine import StoredLetter
from headwater.ports import LogReader, Topics

SETTLED: Final = frozenset({"replayed", "failed-again"})  # of the latter another letter tells


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """`if_newest` leaves letters open whose keys have newer values; `is_dry` publishes nothing."""

    if_newest: bool = False
    is_dry: bool = False


@dataclass(slots=True)
class Replayed:
    """What a replay did, or would do: letters by what became of them, and records published.

    `stopping` are those that failed again because of a rule of severity `stop`. `left_behind` are
    those that wait for one that stays open. `keys` counts the output keys of all letters,
    `newer_keys` those of them with a newer record. `moved` counts the rows written to repartition
    topics; `late`, `duplicates`, `superseded` and `unordered` those that steps with state dropped,
    by `<output>.<step>`.
    """

    replayed: int = 0
    failed_again: Counter[str] = field(default_factory=Counter)
    stopping: int = 0
    left_newer: int = 0
    left_behind: int = 0
    refused: list[Refused] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    superseded: Counter[str] = field(default_factory=Counter)
    unordered: Counter[str] = field(default_factory=Counter)
    keys: int = 0
    newer_keys: int = 0

    @property
    def letters(self) -> int:
        """How many letters something became of."""
        left = self.left_newer + self.left_behind + len(self.refused)
        return self.replayed + self.failed_again.total() + left


class Replay:
    """Replays open letters through a release of their product."""

    def __init__(
        self,
        box: DeadLetterBox,
        ledger: Ledger,
        release: Release,
        *,
        topics: Topics,
        reader: LogReader,
    ) -> None:
        self._box = box
        self._ledger = ledger
        self._release = release
        self._topics = topics
        self._reader = reader
        self._stalled = Stalled()

    def run(
        self, selection: Selection, options: ReplayOptions, on_progress: OnProgress
    ) -> Replayed:
        """Replay the open letters that are meant, in the order of their records.

        Letters that wait for each other come together, up to the first that stays open. A record
        with several open letters comes out once, and all of them are resolved. Progress is told
        twice: of the search for what ends a process or is newer, then of the replay.
        Raises what `Ledger.commit` and `LetterWork.batches` raise; what was committed stays so.
        """
        if not options.is_dry:
            self._ledger.take_over()
        meant, others = self._box.divided(selection, _unheard)
        opened = [each.letter for each in (*meant, *others) if each.status == "open"]
        if not options.is_dry:
            self._ledger.know(opened)
        asked = frozenset(place_of(each.letter) for each in meant if each.status == "open")
        asked = whole_chains(asked, opened)
        letters = _with_twins(asked, opened)
        work = LetterWork(self._box, self._release, asked)
        silent = frozenset(
            (each.letter.source, each.letter.source_offset)
            for each in (*meant, *others)
            if each.status not in SETTLED
        )
        overtaking = Overtaking(self._box.product, self._topics, self._reader, silent)
        state = self._release.state
        state.open(letters)
        tried = self._tried(work.batches(letters))
        newer = overtaking.overtaken(_heard(tried, on_progress, len(letters)))
        state.aborted()
        done = Replayed(keys=newer.keys, newer_keys=newer.newer_keys)
        left = newer.places if options.if_newest else frozenset()
        for each in work.batches(letters):
            batch = self._decided(work, each, left, done)
            self._commit(batch, is_dry=options.is_dry)
            self._count(batch, done)
            on_progress(done.letters, len(letters))
        state.aborted()
        return done

    def _tried(self, batches: Iterable[LetterBatch]) -> Iterator[LetterBatch]:
        """The batches, each with what those before it changed."""
        for batch in batches:
            self._release.state.keep()
            yield batch

    def _decided(
        self, work: LetterWork, batch: LetterBatch, newer: frozenset[Place], done: Replayed
    ) -> LetterBatch:
        """The batch without the records whose letters stay open."""
        done.refused += batch.refused
        behind = self._stalled.behind(batch, newer)
        done.left_behind += _letters(batch) - _letters(batch := work.without(batch, behind))
        done.left_newer += _letters(batch) - _letters(batch := work.without(batch, newer))
        return batch

    def _commit(self, batch: LetterBatch, *, is_dry: bool) -> None:
        marks = [mark for held in batch.records for mark in self._marks(batch, held)]
        if not marks:
            return
        state = self._release.state
        changes = {**batch.changes, **state.keep()}
        if is_dry:
            return
        letters = [letter for _, letter in batch.failed.values()]
        outputs = [*batch.publications, *batch.moved]
        state.committed(self._ledger.commit(marks, outputs, letters, changes))

    @staticmethod
    def _count(batch: LetterBatch, done: Replayed) -> None:
        for held in batch.records:
            place, count = place_of(held.letters[0]), len(held.letters)
            if place in batch.failed:
                done.failed_again[batch.failed[place][0]] += count
                done.stopping += count * (place in batch.stopping)
            else:
                done.replayed += count
        for publication in batch.publications:
            done.written[publication.topic] += len(publication.values)
        for publication in batch.moved:
            done.moved[publication.topic] += len(publication.values)
        done.late.update(batch.late)
        done.duplicates.update(batch.duplicates)
        done.superseded.update(batch.superseded)
        done.unordered.update(batch.unordered)

    def _marks(self, batch: LetterBatch, held: SetAside) -> Iterator[Mark]:
        failed = batch.failed.get(place_of(held.letters[0]))
        action = Action.REPLAYED if failed is None else Action.FAILED_AGAIN
        for letter in held.letters:
            yield Mark(
                action,
                *place_of(letter),
                topic_id=self._box.topic_id,
                code=letter.code if failed is None else failed[0],
                letter=letter,
            )


def _letters(batch: LetterBatch) -> int:
    return sum(len(held.letters) for held in batch.records)


def _with_twins(asked: frozenset[Place], opened: Sequence[StoredLetter]) -> list[StoredLetter]:
    """The open letters that are asked for, and all that may be of the same records, in order."""
    places = {_record(letter) for letter in opened if place_of(letter) in asked}
    found = [letter for letter in opened if _record(letter) in places]
    return sorted(found, key=_record)


def _record(letter: StoredLetter) -> tuple[Place, int]:
    return (letter.source, letter.source_offset), letter.published_ms


def _heard(
    batches: Iterable[LetterBatch], on_progress: OnProgress, total: int
) -> Iterator[LetterBatch]:
    done = 0
    for batch in batches:
        done += _letters(batch) + len(batch.refused)
        on_progress(done, total)
        yield batch


def _unheard(_done: int, _total: int) -> None:
    """Progress of a part that is told as a whole."""
