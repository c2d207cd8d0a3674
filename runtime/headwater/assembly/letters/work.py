"""What comes of dead letters under the current release of their product; publishes nothing."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from typing import Final, cast

from headwater.adapters.memory.reader import MemoryRecords
from headwater.assembly.audit import Place
from headwater.assembly.letters.box import DeadLetterBox, Refused
from headwater.assembly.letters.state import NO_STATE, LetterState
from headwater.engine import Publication, StoredLetter, Task, Work
from headwater.engine.dead_letters import PREFIX, again
from headwater.engine.guard import Sandbox
from headwater.engine.selection import Selection
from headwater.errors import RuleBrokenError
from headwater.model import Code, Letter, Quarantine, RawRecord
from headwater.ports import Records
from headwater.state import Changes

LETTERS_AT_ONCE: Final = 500  # per transaction: a letter is below a megabyte, and most are small

DEADLY: Final = frozenset({Code.PROCESS_DIED.value, Code.STEP_TIMEOUT.value})
DEADLY_AT_ONCE: Final = 20  # the most guilty records that a sandbox takes a batch to have
RULES: Final = "rules"  # the step that a letter names when a rule refused its record
SEVERAL_ROWS: Final = (
    "it tells of one row behind a change of key, and this release makes several of its record: "
    "those that nothing refused are published"
)
MET_BEFORE: Final = (
    "it tells of a row behind a change of key, and the state of another output has its record"
    " already, and would count it twice: mend by hand what is missing, then discard the letter"
)

Key = tuple[str, bytes]
"""An output topic and a key of it."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that was set aside, and its open letters: mostly one.

    Several, when its input was read anew from an earlier place.
    """

    record: RawRecord
    letters: Sequence[StoredLetter]

    @property
    def history(self) -> StoredLetter:
        """The letters as one: first seen when the first of them was, refused as often as any."""
        return replace(
            self.letters[0],
            attempts=max(each.attempts for each in self.letters),
            first_seen_ms=min(each.first_seen_ms for each in self.letters),
            first_written_ms=min(each.first_written_ms for each in self.letters),
            behind=next((x.behind for x in self.letters if x.behind is not None), None),
            is_behind_rekey=any(each.is_behind_rekey for each in self.letters),
        )


@dataclass(frozen=True, slots=True)
class LetterBatch:
    """What came of some records of one input. Rows are places in `records`.

    `failed` holds the code and the new letter of each record that failed again, by the place of its
    first letter; `stopping` are those of them that break a rule of severity `stop`. `moved` goes to
    repartition topics, where the product goes on with it; `changes` is how far event time has come,
    for those who read them. `late` counts rows that were dropped because what they belong to had
    closed, `duplicates` those that had come already, `superseded` those whose
    key had a later row, `unordered` those with nothing to be ordered by, by `<output>.<step>`.
    """

    records: Sequence[SetAside] = ()
    publications: Sequence[Publication] = ()
    moved: Sequence[Publication] = ()
    changes: Mapping[str, Changes] = field(default_factory=dict)
    late: Mapping[str, int] = field(default_factory=dict)
    duplicates: Mapping[str, int] = field(default_factory=dict)
    superseded: Mapping[str, int] = field(default_factory=dict)
    unordered: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[Place, tuple[str, Letter]] = field(default_factory=dict)
    stopping: frozenset[Place] = frozenset()
    refused: Sequence[Refused] = ()

    def outputs(self) -> Iterator[tuple[SetAside, Key]]:
        """Each output that has a key, with the record that it came of.

        What no single record made, as a window that closed, is left out.
        """
        for publication in self.publications:
            for row, key in zip(publication.rows, publication.keys, strict=True):
                if key is not None and row < len(self.records):
                    yield self.records[row], (publication.topic, key)

    def rows(self) -> Counter[Place]:
        """How many rows were made of each record, by the place of its first letter."""
        made = (row for each in (*self.publications, *self.moved) for row in each.rows)
        return Counter(
            place_of(self.records[row].letters[0]) for row in made if row < len(self.records)
        )

    def without(self, places: frozenset[Place]) -> "LetterBatch":
        """The batch without the records of these letters; rows are counted anew.

        Only for steps that keep nothing: what comes of a record depends on no other.
        """
        rows = {row for row, each in enumerate(self.records) if place_of(each.letters[0]) in places}
        if not rows:
            return self
        left = [row for row in range(len(self.records)) if row not in rows]
        return replace(
            self,
            records=[self.records[row] for row in left],
            publications=[_of_rows(publication, left) for publication in self.publications],
            failed={place: each for place, each in self.failed.items() if place not in places},
        )


@dataclass(frozen=True, slots=True)
class Release:
    """The product as it is now: the task of an input, None when it is none any more.

    Every record goes through the sandbox first: one that ends a process now may have had any code.
    `state` is that of the steps, `repartitions` the topics between them. `remembered` are inputs
    whose records are in the state of an output, though refused behind the rekey of another.
    """

    task_of: Callable[[str], Task | None]
    sandbox: Sandbox
    state: LetterState = NO_STATE
    repartitions: Collection[str] = ()
    remembered: Collection[str] = ()


class LetterWork:
    """Sends the records of letters through a release, batch after batch.

    `asked` are the places of the letters that are meant. Others come along only where their record
    is the very record of one of those.
    """

    def __init__(self, box: DeadLetterBox, release: Release, asked: frozenset[Place]) -> None:
        self._box = box
        self._release = release
        self._asked = asked
        self._guilty: dict[Place, Quarantine | None] = {}

    def batches(self, letters: Sequence[StoredLetter]) -> Iterator[LetterBatch]:
        """The work of letters that stand in the order of their records.

        Raises what the sandbox and `Task.process` raise, but RuleBrokenError: a record that breaks
        a rule of severity `stop` fails again. What no single record made, as a window that closes,
        raises ResultRefusedError for it.
        """
        for topic, of_topic in groupby(letters, key=lambda each: each.source.topic):
            held = list(of_topic)
            task = self._release.task_of(topic)
            is_deadly = any(letter.code in DEADLY for letter in held)
            for part in _parts(held, DEADLY_AT_ONCE if is_deadly else LETTERS_AT_ONCE):
                if task is None:
                    reason = f"{self._box.product} no longer reads {topic}"
                    yield LetterBatch(refused=self._refused(Refused(each, reason) for each in part))
                else:
                    yield self._batch(part)

    def without(self, batch: LetterBatch, places: frozenset[Place]) -> LetterBatch:
        """The batch as if the records of these letters were not in it."""
        left = [each for each in batch.records if place_of(each.letters[0]) not in places]
        if not self._release.state.is_kept or len(left) == len(batch.records):
            return batch.without(places)
        return self._made(left, batch.refused)

    def _batch(self, letters: Sequence[StoredLetter]) -> LetterBatch:
        originals, missing = self._box.originals(letters)
        refused = self._refused(missing)
        held = self._set_aside([each for each in letters if place_of(each) in originals], originals)
        batch = self._made(held, refused)
        partly = self._partly_published(batch)
        if not partly:
            return batch
        refused = [*refused, *self._refused(partly)]
        gone = {place_of(each.letter) for each in partly}
        left = [each for each in held if gone.isdisjoint(map(place_of, each.letters))]
        return self._made(left, refused)

    def _made(self, held: Sequence[SetAside], refused: Sequence[Refused]) -> LetterBatch:
        """What the release makes of these records, which are of one input."""
        if not held:
            self._release.state.drop()  # else what was made of them before would be kept
            return LetterBatch(refused=refused)
        topic = held[0].record.partition.topic
        task = cast("Task", self._release.task_of(topic))  # asked for before
        records = MemoryRecords(topic, [each.record for each in held])
        work, stopping = _processed(task, records, self._found_guilty(held, records))
        failed: dict[Place, tuple[str, Letter]] = {}
        for row, letter in zip(work.letter_rows, work.letters, strict=True):
            before = held[row].history
            code = (dict(letter.headers)[PREFIX + "code"] or b"").decode()
            failed[place_of(before)] = (code, again(letter, before))
        internal = self._release.repartitions
        return LetterBatch(
            held,
            [each for each in work.publications if each.topic not in internal],
            [each for each in work.publications if each.topic in internal],
            work.changes,
            work.too_late,
            work.duplicates,
            work.superseded,
            work.unordered,
            failed,
            frozenset(place_of(held[row].letters[0]) for row in stopping),
            refused,
        )

    def _partly_published(self, batch: LetterBatch) -> list[Refused]:
        """Letters of rows that were refused behind a change of key, of records that went on else.

        Into state, or as other rows: only a single one is surely the one refused.
        """
        rows, found = batch.rows(), list[Refused]()
        for held in batch.records:
            if not any(each.is_behind_rekey for each in held.letters):
                continue
            if held.record.partition.topic in self._release.remembered:
                found += [Refused(letter, MET_BEFORE) for letter in held.letters]
            elif rows[place_of(held.letters[0])] > 1:
                found += [Refused(letter, SEVERAL_ROWS) for letter in held.letters]
        return found

    def _refused(self, refused: Iterable[Refused]) -> Sequence[Refused]:
        return [each for each in refused if place_of(each.letter) in self._asked]

    def _set_aside(
        self, letters: Sequence[StoredLetter], originals: Mapping[Place, RawRecord]
    ) -> list[SetAside]:
        """The records of letters. One place may have held several: a topic can be made anew."""
        found: list[SetAside] = []
        for _, of_place in groupby(letters, key=_source):
            known: list[tuple[RawRecord, list[StoredLetter]]] = []
            for letter in of_place:
                record = originals[place_of(letter)]
                twins = next((held for each, held in known if each == record), None)
                if twins is None:
                    known.append((record, [letter]))
                else:
                    twins.append(letter)
            found += [SetAside(record, held) for record, held in known if self._is_asked(held)]
        return found

    def _is_asked(self, letters: Sequence[StoredLetter]) -> bool:
        return any(place_of(letter) in self._asked for letter in letters)

    def _found_guilty(self, held: Sequence[SetAside], records: Records) -> Sequence[Quarantine]:
        """The rows that end a process; asked once of each, as a search takes its time."""
        places = [place_of(each.letters[0]) for each in held]
        if not self._guilty.keys() >= set(places):
            guilty = self._release.sandbox.guilty(records, _nothing_to_do)
            self._guilty |= dict.fromkeys(places) | {places[each.row]: each for each in guilty}
        found = ((row, self._guilty[place]) for row, place in enumerate(places))
        return [replace(each, row=row) for row, each in found if each is not None]


def place_of(letter: StoredLetter) -> Place:
    """Where a letter stands."""
    return letter.partition, letter.offset


def _source(letter: StoredLetter) -> Place:
    return letter.source, letter.source_offset


def _parts(letters: Sequence[StoredLetter], size: int) -> Iterator[Sequence[StoredLetter]]:
    """The letters of so many places each, those of one place together."""
    places = [list(of_place) for _, of_place in groupby(letters, key=_source)]
    for first in range(0, len(places), size):
        yield list(chain.from_iterable(places[first : first + size]))


def _processed(
    task: Task, records: Records, guilty: Sequence[Quarantine]
) -> tuple[Work, Sequence[int]]:
    """The work, and the rows that break a rule of severity `stop`: each costs itself alone."""
    try:
        return task.process(records, guilty), ()
    except RuleBrokenError:
        stopping = list(_stopping(task, records, guilty))
        work = task.process(records, [*guilty, *stopping])
        return work, [each.row for each in stopping]


def _stopping(task: Task, records: Records, guilty: Sequence[Quarantine]) -> Iterator[Quarantine]:
    """The rows that break a rule of severity `stop` behind the sound ones before them.

    Each is looked for among so many of the first rows, ever more: what comes of a row may depend on
    those before it, so none can be asked alone.
    """
    named = {each.row for each in guilty}
    rows = [row for row in range(len(records)) if row not in named]
    sound, ahead = 0, 1
    while sound < len(rows):
        error = _broken(task, Selection(records, rows[: sound + ahead]))
        if error is None:
            sound, ahead = sound + ahead, 2 * ahead
        elif ahead > 1:
            ahead //= 2
        else:
            yield Quarantine(rows.pop(sound), Code.CONTRACT_VIOLATION, str(error), RULES)


def _broken(task: Task, records: Records) -> RuleBrokenError | None:
    try:
        task.process(records)
    except RuleBrokenError as error:
        return error
    return None


def _nothing_to_do() -> None:
    """No membership is to be kept while the sandbox works."""


def _of_rows(publication: Publication, left: Sequence[int]) -> Publication:
    """What a publication holds of these rows, which are counted anew."""
    renumbered = {row: place for place, row in enumerate(left)}
    keep = [place for place, row in enumerate(publication.rows) if row in renumbered]
    rows = publication.rows[keep]
    return replace(
        publication,
        keys=[publication.keys[place] for place in keep],
        values=[publication.values[place] for place in keep],
        rows=rows.replace_strict(renumbered, return_dtype=rows.dtype) if keep else rows,
    )
