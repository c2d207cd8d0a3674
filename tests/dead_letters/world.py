"""A product's letters, marks and logs in memory, and what replays them."""

from collections.abc import Callable, Sequence
from typing import Final

import polars as pl

from headwater.adapters.memory import (
    MemoryBroker,
    MemoryRangeReader,
    MemoryTopics,
    MemoryTransactionalLog,
)
from headwater.adapters.memory.reader import MemoryRecords
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly import audit
from headwater.assembly.audit import Actor, AuditLog
from headwater.assembly.letters.box import DeadLetterBox, Entry, Selection
from headwater.assembly.letters.ledger import Ledger
from headwater.assembly.letters.replay import Replay
from headwater.assembly.letters.work import Release
from headwater.engine import LetterWriter, Publication, Task, Work
from headwater.errors import RuleBrokenError
from headwater.model import Code, Partition, Quarantine
from headwater.ports import Records, TopicSettings

PRODUCT: Final = "out"
INPUT: Final = "in"
ME: Final = Actor("tester", PRODUCT, "r2")
ALL: Final = Selection()
OLD: Final = ("release", "first.seen", "attempts")


class EchoTask(Task):
    """Publishes each value under its key; refuses `bad…`, drops `drop…`, and `stop…` stops it.

    What is `other…` is published under another key.
    """

    def __init__(self, dead_letters: str) -> None:
        self._dead_letters = LetterWriter(dead_letters, "r2")

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        rows = range(len(records))
        values = [value or b"" for value in records.values]
        named = {each.row for each in guilty}
        if any(values[row].startswith(b"stop") and row not in named for row in rows):
            raise RuleBrokenError("a record breaks the rule, whose severity is stop")
        bad = [
            *guilty,
            *(Quarantine(row, Code.BAD_MAGIC, "bad") for row in rows if values[row][:3] == b"bad"),
        ]
        refused = {each.row for each in bad}
        kept = [row for row in rows if row not in refused and values[row][:4] != b"drop"]
        keys = records.keys()
        return Work(
            topic=records.topic,
            read=len(records),
            size=0,
            ends=records.ends(),
            publications=[
                Publication(
                    PRODUCT,
                    [b"other" if values[row][:5] == b"other" else keys[row] for row in kept],
                    [values[row] for row in kept],
                    pl.Series(kept, dtype=pl.UInt32),
                )
            ],
            dead_letters=self._dead_letters.topic,
            letters=self._dead_letters.letters(records, bad),
            letter_rows=sorted(refused),
            codes={},
        )


class StrictSandbox:
    """Finds `deadly…` guilty, and remembers how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def guilty(self, records: Records, keep_alive: Callable[[], None]) -> Sequence[Quarantine]:
        self.asked += 1
        keep_alive()
        return [
            Quarantine(row, Code.PROCESS_DIED, "it died", "step")
            for row, value in enumerate(records.values)
            if (value or b"").startswith(b"deadly")
        ]

    def close(self) -> None: ...


class World:
    """A product's topics in memory, with letters of its input."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.topics = MemoryTopics(self.broker)
        self.reader = MemoryRangeReader(self.broker)
        self.audit = AuditLog(self.topics, MemoryRegistry(), self.reader, clock=self.broker.clock)
        self.sandbox = StrictSandbox()
        self.topics.create(
            [
                TopicSettings(INPUT, 1, "source"),
                TopicSettings(PRODUCT, 1, "log"),
                TopicSettings(self.box.topic, 1, "dead-letters"),
                TopicSettings(audit.TOPIC, 1, "log"),
            ]
        )

    @property
    def box(self) -> DeadLetterBox:
        """The letters as another command opens them."""
        return DeadLetterBox(PRODUCT, self.topics, self.reader, self.audit)

    def set_aside(
        self, value: bytes, *, key: bytes = b"k", code: Code = Code.STEP_FAILED, old: bool = False
    ) -> None:
        """Feed a record, and its letter; an `old` one without what later releases added."""
        self.feed(value, key=key)
        self.write_letter(code=code, old=old)

    def feed(self, value: bytes, *, key: bytes = b"k") -> None:
        """A record of the input, which the product has read by now."""
        self.broker.append(INPUT, value, key=key, headers=(("own", b"1"),))
        end = self.broker.partition(Partition(INPUT, 0)).end
        self.broker.group(PRODUCT).offsets[Partition(INPUT, 0)] = (end, "")

    def write_letter(
        self, *, code: Code = Code.STEP_FAILED, old: bool = False, after_s: float = 0.0
    ) -> None:
        """A letter of the last record of the input, written so long after it was seen."""
        record = self.broker.visible(INPUT)[-1]
        writer = LetterWriter(self.box.topic, "r1", self.broker.clock)
        (letter,) = writer.letters(
            MemoryRecords(INPUT, [record]), [Quarantine(0, code, "why", "step")]
        )
        headers = [h for h in letter.headers if not (old and h[0][16:] in OLD)]
        self.broker.clock.advance(after_s)
        self.broker.append(self.box.topic, letter.value, key=letter.key, headers=tuple(headers))

    def ledger(self) -> Ledger:
        """A new process that resolves letters."""
        log = MemoryTransactionalLog(self.broker, transactional_id=self.box.topic)
        return Ledger(log, self.audit, ME, dead_letters=self.box.topic)

    def publish(self, value: bytes, *, key: bytes = b"k") -> None:
        """What the product makes of a record: on its log now."""
        self.broker.append(PRODUCT, value, key=key)

    def replay(self, ledger: Ledger | None = None, *, task: Task | None = None) -> Replay:
        """A replay by a new process, of the release that has this task."""
        task = task or EchoTask(self.box.topic)
        return Replay(
            self.box,
            ledger or self.ledger(),
            Release(lambda topic: task if topic == INPUT else None, self.sandbox),
            topics=self.topics,
            reader=self.reader,
        )

    def entries(self, selection: Selection = ALL) -> list[Entry]:
        """What is there."""
        return self.box.entries(selection, lambda _done, _total: None)

    def statuses(self) -> list[str]:
        """What became of each letter."""
        return [each.status for each in self.entries()]

    def outputs(self) -> list[bytes | None]:
        """What was published."""
        return [record.value for record in self.broker.visible(PRODUCT)]


def heard(_done: int, _total: int) -> None:
    """Nobody watches."""
