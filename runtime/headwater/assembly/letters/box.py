"""The dead letters of a product: which there are, what became of them, and their records again."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from headwater.assembly.audit import Action, AuditLog, Place
from headwater.assembly.keys import encodings_of
from headwater.engine import StoredLetter
from headwater.engine.dead_letters import original, read_letter
from headwater.errors import ConfigurationError, Problem, StartRefusedError, UnverifiableError
from headwater.model import Partition, RawRecord
from headwater.ports import LogReader, Topics

RECORDS_AT_ONCE: Final = 1_000  # a letter may be a megabyte

Status = Literal["open", "replayed", "failed-again", "discarded"]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant; what is empty or None does not restrict.

    `keys` are texts: UTF-8, whole numbers as Kafka's serializers write them, or `0x` and hex
    digits. Times are milliseconds since the epoch, of when a letter's record was first seen.
    `places` are partition and offset of letters.
    """

    codes: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    places: frozenset[tuple[int, int]] = frozenset()

    def takes(self, letter: StoredLetter, key: bytes | None) -> bool:
        """Whether a letter with this key is meant."""
        return (
            (not self.codes or letter.code in self.codes)
            and (not self.keys or key in self._key_bytes())
            and (self.since_ms is None or letter.first_seen_ms >= self.since_ms)
            and (self.until_ms is None or letter.first_seen_ms < self.until_ms)
            and (not self.places or (letter.partition.index, letter.offset) in self.places)
        )

    def _key_bytes(self) -> frozenset[bytes]:
        return frozenset(key for text in self.keys for key in encodings_of(text))


@dataclass(frozen=True, slots=True)
class Entry:
    """A letter and what became of it."""

    letter: StoredLetter
    status: Status


@dataclass(frozen=True, slots=True)
class Refused:
    """A letter that cannot be replayed, and why."""

    letter: StoredLetter
    reason: str


class DeadLetterBox:
    """Reads the dead letters of a product beside the marks of the audit log. Changes nothing."""

    def __init__(self, product: str, topics: Topics, reader: LogReader, audit: AuditLog) -> None:
        self.product: Final = product
        self.topic: Final = f"{product}.dead-letters"
        self._topics = topics
        self._reader = reader
        self._audit = audit

    @cached_property
    def topic_id(self) -> str:
        """The broker's id of the topic when it was first asked for: its letters are meant."""
        return self._topics.topic_id(self.topic)

    def entries(self, selection: Selection, on_progress: OnProgress) -> list[Entry]:
        """Every letter that is meant, resolved or not, in the order of their records.

        Raises what `divided` raises.
        """
        meant, _ = self.divided(selection, on_progress)
        return in_order(meant)

    def divided(
        self, selection: Selection, on_progress: OnProgress
    ) -> tuple[list[Entry], list[Entry]]:
        """The letters that are meant, and all others, resolved or not.

        Raises StartRefusedError (TOPIC_MISSING) when the product has never run, and
        ConfigurationError for a place where no letter is.
        """
        if self._topics.partitions(self.topic) is None:
            raise StartRefusedError(
                f"there is no topic {self.topic}: {self.product} has not run yet",
                code="TOPIC_MISSING",
            )
        meant, others = list[Entry](), list[Entry]()
        for entry, key in self._entries(on_progress):
            found = meant if selection.takes(entry.letter, key) else others
            found.append(entry)
        self._require_found(selection, meant)
        return meant, others

    def open_count(self, on_progress: OnProgress) -> int:
        """How many letters nothing was decided about yet; none of them is kept in memory."""
        if self._topics.partitions(self.topic) is None:
            return 0
        return sum(entry.status == "open" for entry, _ in self._entries(on_progress))

    def originals(
        self, letters: Sequence[StoredLetter]
    ) -> tuple[dict[Place, RawRecord], list[Refused]]:
        """The records of letters by the place of each letter, and those that are gone.

        What was too large for a letter is read again where it came from.
        """
        found: dict[Place, RawRecord] = {}
        refused: list[Refused] = []
        raws = self._raw(letters)
        for letter in letters:
            place = (letter.partition, letter.offset)
            record = original(raws[place], letter) if place in raws else None
            if letter.omitted:
                record = self._at_source(letter)
            if record is None:
                where = f"{letter.source}@{letter.source_offset}"
                what = "the letter is" if not letter.omitted else f"it is no longer at {where}, and"
                left = "no longer there" if not letter.omitted else "was not kept in the letter"
                refused.append(Refused(letter, f"{what} {left}"))
            else:
                found[place] = record
        return found, refused

    def _entries(self, on_progress: OnProgress) -> Iterator[tuple[Entry, bytes | None]]:
        topic_id = self.topic_id
        marks = self._audit.marks(self.product)
        for letter, key in self._letters(on_progress):
            marked = marks.get((letter.partition, letter.offset), ())
            actions = [each.action for each in marked if each.is_of(letter, topic_id)]
            yield Entry(letter, _status(actions)), key

    def _letters(self, on_progress: OnProgress) -> Iterator[tuple[StoredLetter, bytes | None]]:
        first, end = self._topics.beginnings(self.topic), self._topics.ends(self.topic)
        total = sum(end[partition] - first[partition] for partition in end)
        done = 0
        ranges = {partition: (first[partition], end[partition]) for partition in end}
        for records in self._reader.read(ranges, max_records=RECORDS_AT_ONCE):
            for row in range(len(records)):
                raw = records.raw(row)
                letter = read_letter(raw)
                if letter is not None:
                    yield letter, raw.key
            done += len(records)
            on_progress(done, total)

    def _require_found(self, selection: Selection, found: Sequence[Entry]) -> None:
        seen = {(each.letter.partition.index, each.letter.offset) for each in found}
        missing = sorted(selection.places - seen)
        if missing:
            named = ", ".join(f"{partition}@{offset}" for partition, offset in missing)
            text = (
                f"--at {named}: no letter that is meant is there; see `headwater dead-letters list`"
            )
            raise ConfigurationError([Problem("BAD_VALUE", text)])

    def _raw(self, letters: Sequence[StoredLetter]) -> Mapping[Place, RawRecord]:
        offsets: defaultdict[Partition, set[int]] = defaultdict(set)
        for letter in letters:
            offsets[letter.partition].add(letter.offset)
        ranges = {p: (min(wanted), max(wanted) + 1) for p, wanted in offsets.items()}
        found: dict[Place, RawRecord] = {}
        for records in self._reader.read(ranges, max_records=RECORDS_AT_ONCE):
            for row, offset in enumerate(records.offsets()):
                raw = records.raw(row)
                if offset in offsets[raw.partition]:
                    found[raw.partition, offset] = raw
        return found

    def _at_source(self, letter: StoredLetter) -> RawRecord | None:
        """The record itself; None when it, or its topic as it was, is gone.

        Its publish time tells, but for one that was refused behind a change of key: that letter has
        the time of the row that was moved.
        """
        ranges = {letter.source: (letter.source_offset, letter.source_offset + 1)}
        try:
            for records in self._reader.read(ranges, max_records=1):
                raw = records.raw(0)
                is_same = raw.timestamp_ms == letter.published_ms or letter.is_behind_rekey
                return raw if is_same else None
        except UnverifiableError:
            return None
        return None


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """In the order of their records."""
    return sorted(entries, key=lambda each: (each.letter.source, each.letter.source_offset))


def _status(actions: Sequence[Action]) -> Status:
    match actions[-1] if actions else None:
        case None | Action.SKIPPED:
            return "open"
        case Action.REPLAYED:
            return "replayed"
        case Action.FAILED_AGAIN:
            return "failed-again"
        case Action.DISCARDED:
            return "discarded"
