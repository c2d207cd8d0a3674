"""Replay of dead letters through the current release of their product, each exactly once.

First every letter is processed without publishing, to learn the keys of what would come out; then
the output logs are read for newer records of those keys; then batch after batch is published with
the marks that resolve it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from headwater.adapters.memory.reader import MemoryRecords
from headwater.assembly.audit import Action, Mark, Place
from headwater.assembly.letters import DeadLetterBox, OnProgress, Refused, Selection
from headwater.assembly.letters_ledger import Ledger
from headwater.engine import Publication, StoredLetter, Task
from headwater.engine.dead_letters import PREFIX, again, source_position
from headwater.engine.guard import Sandbox
from headwater.model import Code, Letter, Quarantine
from headwater.ports import LogReader, Records, Topics

LETTERS_AT_ONCE: Final = 500  # per transaction: a letter is below a megabyte, and most are small
SCANNED_AT_ONCE: Final = 10_000

DEADLY: Final = frozenset({Code.PROCESS_DIED.value, Code.STEP_TIMEOUT.value})
DEADLY_AT_ONCE: Final = 20  # the most guilty records that a sandbox takes a batch to have

Key = tuple[str, bytes]
"""An output topic and a key of it."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """`if_newest` leaves letters open whose keys have newer values; `is_dry` publishes nothing."""

    if_newest: bool = False
    is_dry: bool = False


@dataclass(slots=True)
class Replayed:
    """What a replay did, or would do: letters by what became of them, and records published.

    `keys` counts the output keys of all letters, `newer_keys` those of them with a newer record.
    """

    replayed: int = 0
    failed_again: Counter[str] = field(default_factory=Counter)
    left_newer: int = 0
    refused: list[Refused] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)
    keys: int = 0
    newer_keys: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """What came of some letters of one input: work of the product, letter by letter."""

    letters: Sequence[StoredLetter]
    publications: Sequence[Publication]
    failed: Mapping[Place, tuple[str, Letter]]
    refused: Sequence[Refused]

    def outputs(self) -> Iterator[tuple[StoredLetter, Key]]:
        for publication in self.publications:
            for row, key in zip(publication.rows, publication.keys, strict=True):
                if key is not None:
                    yield self.letters[row], (publication.topic, key)

    def without(self, rows: frozenset[int]) -> "_Batch":
        """The batch without these letters; the rows of what is left are counted anew."""
        if not rows:
            return self
        left = [row for row in range(len(self.letters)) if row not in rows]
        return _Batch(
            [self.letters[row] for row in left],
            [_without(publication, rows) for publication in self.publications],
            self.failed,
            self.refused,
        )


@dataclass(frozen=True, slots=True)
class Release:
    """The product as it is now: the task of an input, None when it is none any more.

    Records that ended a process go through the sandbox first.
    """

    task_of: Callable[[str], Task | None]
    sandbox: Sandbox


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
        self._guilty: dict[tuple[Place, ...], Sequence[Quarantine]] = {}
        self._topics = topics
        self._reader = reader

    def run(
        self, selection: Selection, options: ReplayOptions, on_progress: OnProgress
    ) -> Replayed:
        """Replay the open letters that are meant, in the order of their records.

        Raises what `Ledger.commit` and `Task.process` raise; what was committed stays so.
        """
        if not options.is_dry:
            self._ledger.take_over()
        entries = self._box.entries(selection, _unheard)
        letters = [each.letter for each in entries if each.status == "open"]
        done = Replayed()
        newer = self._overtaken(letters, done)
        for batch in self._batches(letters):
            self._finish(batch, newer, options, done)
            total = done.replayed + done.failed_again.total() + done.left_newer + len(done.refused)
            on_progress(total, len(letters))
        return done

    def _finish(
        self,
        batch: _Batch,
        newer: frozenset[Place],
        options: ReplayOptions,
        done: Replayed,
    ) -> None:
        done.refused += batch.refused
        if options.if_newest:
            rows = frozenset(
                row for row, letter in enumerate(batch.letters) if _place(letter) in newer
            )
            done.left_newer += len(rows)
            batch = batch.without(rows)
        marks = [_mark(letter, batch.failed) for letter in batch.letters]
        if marks and not options.is_dry:
            letters = [letter for _, letter in batch.failed.values()]
            self._ledger.commit(marks, batch.publications, letters)
        done.replayed += len(marks) - len(batch.failed)
        done.failed_again.update(code for code, _ in batch.failed.values())
        for publication in batch.publications:
            done.written[publication.topic] += len(publication.values)

    # -- what comes of letters -----------------------------------------------------------------

    def _batches(self, letters: Sequence[StoredLetter]) -> Iterator[_Batch]:
        for topic, of_topic in groupby(letters, key=lambda each: each.source.topic):
            held = list(of_topic)
            task = self._release.task_of(topic)
            is_deadly = any(letter.code in DEADLY for letter in held)
            size = DEADLY_AT_ONCE if is_deadly else LETTERS_AT_ONCE
            for first in range(0, len(held), size):
                part = held[first : first + size]
                if task is None:
                    reason = f"{self._box.product} no longer reads {topic}"
                    yield _Batch((), (), {}, [Refused(letter, reason) for letter in part])
                else:
                    yield self._batch(topic, task, part)

    def _batch(self, topic: str, task: Task, letters: Sequence[StoredLetter]) -> _Batch:
        originals, refused = self._box.originals(letters)
        held = [letter for letter in letters if _place(letter) in originals]
        if not held:
            return _Batch((), (), {}, refused)
        records = MemoryRecords(topic, [originals[_place(each)] for each in held])
        work = task.process(records, self._found_guilty(held, records))
        by_source = {(str(x.source.topic), x.source.index, x.source_offset): x for x in held}
        failed: dict[Place, tuple[str, Letter]] = {}
        for letter in work.letters:
            before = by_source[source_position(letter.headers) or ("", 0, 0)]
            code = (dict(letter.headers)[PREFIX + "code"] or b"").decode()
            failed[_place(before)] = (code, again(letter, before))
        return _Batch(held, work.publications, failed, refused)

    def _found_guilty(
        self, letters: Sequence[StoredLetter], records: Records
    ) -> Sequence[Quarantine]:
        """The rows that still end a process; asked once, as it may take a bound each."""
        if not any(letter.code in DEADLY for letter in letters):
            return ()
        places = tuple(map(_place, letters))
        if places not in self._guilty:
            self._guilty[places] = self._release.sandbox.guilty(records, _nothing_to_do)
        return self._guilty[places]

    # -- what is newer -------------------------------------------------------------------------

    def _overtaken(self, letters: Sequence[StoredLetter], done: Replayed) -> frozenset[Place]:
        """The letters for a key of whose outputs the output log has a newer record.

        Newer is what was published when the letter was first seen, or later: of records published
        in the same moment nothing tells the order.
        """
        keys: defaultdict[Key, list[StoredLetter]] = defaultdict(list)
        for batch in self._batches(letters):
            for letter, key in batch.outputs():
                keys[key].append(letter)
        done.keys = len(keys)
        if not keys:
            return frozenset()
        latest = self._latest(keys, min(letter.first_seen_ms for letter in letters))
        overtaken = {
            key: [letter for letter in keys[key] if published_ms >= letter.first_seen_ms]
            for key, published_ms in latest.items()
        }
        done.newer_keys = sum(map(bool, overtaken.values()))
        return frozenset(_place(letter) for found in overtaken.values() for letter in found)

    def _latest(self, keys: Mapping[Key, object], since_ms: int) -> dict[Key, int]:
        """The last publish time of each key that was published since, milliseconds."""
        latest: dict[Key, int] = {}
        for topic in sorted({topic for topic, _ in keys}):
            begin, end = self._topics.at_time(topic, since_ms), self._topics.ends(topic)
            ranges = {partition: (begin[partition], end[partition]) for partition in end}
            wanted = {key for held, key in keys if held == topic}
            for records in self._reader.read(ranges, max_records=SCANNED_AT_ONCE):
                for key, published_ms in zip(records.keys(), records.timestamps_ms(), strict=True):
                    if key in wanted and key is not None:
                        latest[topic, key] = max(published_ms, latest.get((topic, key), 0))
        return latest


def _unheard(_done: int, _total: int) -> None:
    """Progress of a part that is told as a whole."""


def _nothing_to_do() -> None:
    """No membership is to be kept while the sandbox works."""


def _place(letter: StoredLetter) -> Place:
    return letter.partition, letter.offset


def _mark(letter: StoredLetter, failed: Mapping[Place, tuple[str, Letter]]) -> Mark:
    place = _place(letter)
    action = Action.FAILED_AGAIN if place in failed else Action.REPLAYED
    code = failed[place][0] if place in failed else letter.code
    return Mark(action, *place, code=code, letter=letter)


def _without(publication: Publication, rows: frozenset[int]) -> Publication:
    keep = [place for place, row in enumerate(publication.rows) if row not in rows]
    return replace(
        publication,
        keys=[publication.keys[place] for place in keep],
        values=[publication.values[place] for place in keep],
        rows=publication.rows[keep],
    )
