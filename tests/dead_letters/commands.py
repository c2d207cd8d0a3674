"""Replays and discards over the broker in memory, as processes that may be killed."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from tests.engine.conftest import DEAD, INPUT, OUTPUT, KilledError, World

from headwater.adapters.memory import MemoryRangeReader, MemorySource, MemoryTransactionalLog
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly import audit
from headwater.assembly.audit import Action, Actor, AuditLog, Mark, audit_contract
from headwater.assembly.letters.box import DeadLetterBox, Selection
from headwater.assembly.letters.ledger import Beside, Ledger
from headwater.assembly.letters.replay import Replay, Replayed, ReplayOptions
from headwater.assembly.letters.work import Release, place_of
from headwater.contract import Decoder
from headwater.engine import StoredLetter
from headwater.engine.dead_letters import read_letter
from headwater.errors import HeadwaterError
from headwater.model import Partition
from headwater.ports import TopicSettings

ALL: Final = Selection()
Outcome = Replayed | HeadwaterError | Literal["killed"]


@dataclass(eq=False, slots=True)
class Command:
    """One replay or discard as a process of its own."""

    log: MemoryTransactionalLog

    def kill(self) -> None:
        """As `kill -9`."""
        self.log.vanish()


class LettersWorld(World):
    """A product whose letters come back; `is_mended` releases take what the others refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.broker.groups[OUTPUT] = self.broker.group("product")  # the product is `out`
        self.registry = MemoryRegistry()
        self.is_mended = False
        self._seen: object = None
        self.topics.create([TopicSettings(audit.TOPIC, 1, "log")])

    def release(self) -> tuple[Release, Beside | None, Callable[[], None]]:
        """The release of now for one command, what changes beside its letters, and its end."""
        raise NotImplementedError

    def source(self) -> MemorySource:
        """Of the product's group, under a name that no process of it has."""
        return MemorySource(self.broker, group=OUTPUT, member=DEAD)

    def replay(
        self, selection: Selection = ALL, *, if_newest: bool = False, is_dry: bool = False
    ) -> Outcome:
        """Replay letters with the release of now."""
        options = ReplayOptions(if_newest=if_newest, is_dry=is_dry)
        reader = MemoryRangeReader(self.broker)

        def run(ledger: Ledger, release: Release) -> Replayed:
            replay = Replay(self._box(), ledger, release, topics=self.topics, reader=reader)
            return replay.run(selection, options, _unheard)

        return self._run(run)

    def discard(self, *places: tuple[Partition, int]) -> Outcome:
        """Discard the open letters at these places, as `DeadLetters.discard` does."""

        def run(ledger: Ledger, _release: Release) -> Replayed:
            ledger.take_over()
            box = self._box()
            opened = [
                each.letter for each in box.divided(ALL, _unheard)[0] if each.status == "open"
            ]
            ledger.know(opened)
            marks = [
                Mark(Action.DISCARDED, *place_of(each), letter=each, topic_id=box.topic_id)
                for each in opened
                if place_of(each) in places
            ]
            ledger.commit(marks)
            return Replayed()

        return self._run(run)

    def _run(self, action: Callable[[Ledger, Release], Replayed]) -> Outcome:
        log = MemoryTransactionalLog(self.broker, transactional_id=DEAD)
        release, beside, end = self.release()
        ledger = Ledger(
            log, self._audit(), Actor("tester", OUTPUT, "r2"), dead_letters=DEAD, beside=beside
        )
        before, self.current = self.current, Command(log)  # type: ignore[assignment]  # can be killed
        outcome: Outcome = "killed"
        with suppress(KilledError):
            try:
                outcome = action(ledger, release)
            except HeadwaterError as error:
                outcome = error
            log.close()
        end()
        self.current = before
        return outcome

    def _box(self) -> DeadLetterBox:
        return DeadLetterBox(OUTPUT, self.topics, MemoryRangeReader(self.broker), self._audit())

    def _audit(self) -> AuditLog:
        reader = MemoryRangeReader(self.broker)
        return AuditLog(self.topics, self.registry, reader, clock=self.broker.clock)

    def letters(self) -> dict[tuple[Partition, int], tuple[StoredLetter, str]]:
        """Every committed letter by its place, and what the audit log says of it."""
        found = {
            place_of(letter): (letter, "open")
            for record in self.committed(DEAD)
            if (letter := read_letter(record)) is not None
        }
        values = [record.value for record in self.committed(audit.TOPIC)]
        if values:
            frame = Decoder(audit_contract(), self.registry.schema).decode(values).frame
            for row in frame.iter_rows(named=True):
                place = Partition(row["topic"], row["partition"]), row["offset"]
                assert found[place][1] == "open", f"{place} was resolved twice"
                found[place] = found[place][0], row["action"]
        return found

    def has_news(self) -> bool:
        """Whether anything was committed since this was asked last; checks take long."""
        seen = self.positions(), [self.topics.ends(topic) for topic in self.broker.topics]
        before, self._seen = self._seen, seen
        return seen != before

    def check_published(self, letters: Iterable[tuple[StoredLetter, str]]) -> None:
        """Every record read is published, or set aside once and open or discarded."""
        away = Counter(
            (letter.source, letter.source_offset)
            for letter, status in letters
            if status in {"open", "discarded"}
        )
        assert set(away.values()) <= {1}
        positions = self.positions()
        wanted = [
            b"out:" + (each.value or b"")
            for each in self.broker.visible(INPUT)
            if each.offset < positions[each.partition] and (each.partition, each.offset) not in away
        ]
        assert Counter(self.outputs()) == Counter(wanted)


def _unheard(_done: int, _total: int) -> None: ...
