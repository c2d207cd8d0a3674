"""`verify --against-source` of products with state: what one partition's records make in order."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from tests.diff.shop import Shop
from tests.diff.test_state import ORDER

from headwater.adapters.memory import MemoryBroker, MemoryRangeReader, MemoryTopics
from headwater.adapters.memory.reader import MemoryRecords
from headwater.assembly import audit, recomputation
from headwater.assembly.audit import Action, Actor, AuditLog, Mark
from headwater.assembly.diff.side import Outside
from headwater.assembly.project import LoadedProduct, load_product
from headwater.assembly.recomputability import why_not
from headwater.assembly.recomputation import Recomputation, SourceVerdict
from headwater.assembly.registration import lookup_ids, register
from headwater.assembly.state import stores_in_memory
from headwater.assembly.tasks import TaskMaker
from headwater.engine import LetterWriter, StoredLetter, Task, Work
from headwater.engine.dead_letters import read_letter
from headwater.errors import UnverifiableError
from headwater.model import Partition, RawRecord
from headwater.ports import TopicSettings

NAME: Final = "shop.copies"
INPUT: Final = "shop.orders"
LETTERS: Final = f"{NAME}.dead-letters"
RECORDS: Final = 200
BOUNDS: Final = {
    name: {"type": "long", "logicalType": "timestamp-millis"}
    for name in ("window_start", "window_end")
}
TOTALS: Final = {"id": "string", **BOUNDS, "total": "long"}
COUNTS: Final = {"id": "string", "n": "long", "note": ["null", "string"]}
SAME: Final = {"id": "string", "n": "int", "note": ["null", "string"]}
KINDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "latest": ('.latest("id", by="n").select("id", "n", "note")', SAME),
    "latest that is forgotten": (
        '.latest("id", by="at", keep="40ms").select("id", "n", "note")',
        SAME,
    ),
    "dedupe": ('.dedupe("id", within="9ms").select("id", "n", "note")', SAME),
    "running": (
        '.group_by("id").agg(n=aggregates.sum("n"), note=aggregates.last("note"))',
        COUNTS,
    ),
    "closing windows": (
        '.group_by("id").window(tumbling("20ms")).agg(total=aggregates.sum("n"))',
        TOTALS,
    ),
    "changing windows": (
        """.group_by("id").window(hopping("20ms", every="10ms"), emit="on_change")\
        .agg(total=aggregates.sum("n"))""",
        TOTALS,
    ),
    "sessions that refuse late rows": (
        """.group_by("id").window(session(gap="6ms"), late="dead-letter")\
        .agg(total=aggregates.sum("n"))""",
        TOTALS,
    ),
    "process with timers": (".process(count, state=Seen, on_timer=tell)", SAME),
}
HEAD: Final = """\
    from datetime import timedelta
    from pydantic import BaseModel
    from headwater import aggregates, hopping, session, tumbling

    class Seen(BaseModel):
        n: int = 0

    def count(event, state, context):
        state.n += event["n"]
        context.set_timer(event["at"] + timedelta(milliseconds=15))
        if state.n % 7 == 3:
            context.forget()
        return {"id": event["id"], "n": state.n, "note": None}

    def tell(state, at, context):
        return {"id": context.key["id"], "n": state.n, "note": at.isoformat()}
"""


class Running(Shop):
    """A shop whose product runs over its orders, in batches that nobody foresees."""

    def __init__(self, root: Path, steps: str, fields: dict[str, Any], seed: int = 0) -> None:
        super().__init__(root)
        self.contract(INPUT, ORDER, eventTime="at")
        self.contract(NAME, fields)
        self.product(root, f"{HEAD}    product.publish(orders{steps}, contract=1)\n")
        self.random = random.Random(seed)
        self.broker.create(TopicSettings(NAME, 3, "log"))
        self.broker.create(TopicSettings(LETTERS, 1, "dead-letters"))
        self.topics = MemoryTopics(self.broker)
        self.reader = MemoryRangeReader(self.broker)
        loaded = self.loaded()
        for contract in loaded.outputs.values():
            register(contract, self.registry)
        self._stores = stores_in_memory(loaded, {INPUT: 2})
        self._task = self._made(loaded)
        self._position = {Partition(INPUT, index): 0 for index in range(2)}
        self.order(RECORDS)
        self.run()

    def loaded(self) -> LoadedProduct:
        """Today's definition."""
        return load_product(NAME, self.root)

    def order(self, count: int) -> None:
        """Orders of nine ids, out of order by 30 ms at most."""
        self.feed(
            [
                {
                    "id": f"i{self.random.randrange(9)}",
                    "n": self.random.randrange(50),
                    "note": self.random.choice([None, "a", "b"]),
                    "at": datetime.fromtimestamp(
                        (n - self.random.choice([0, 0, 0, 8, 30])) / 1000, UTC
                    ),
                }
                for n in range(count)
            ]
        )

    def run(self) -> None:
        """To the end of the input; partitions take turns, a batch is of 1 to 60 records."""
        while behind := [
            p for p, end in self.topics.ends(INPUT).items() if self._position[p] < end
        ]:
            partition = self.random.choice(behind)
            start = self._position[partition]
            left = self.broker.partition(partition).committed()[start:]
            self._publish(self._take(left[: self.random.randrange(1, 60)]))
            self._position[partition] = min(start + len(left), self._position[partition])
        self.broker.group(NAME).offsets.update({p: (at, "") for p, at in self._position.items()})

    def recomputed(self) -> SourceVerdict:
        """What comes of it."""
        outside = Outside(self.topics, self.reader, self.registry)
        (verdict,) = Recomputation(self.loaded(), outside).run(lambda _done, _total: None)
        return verdict

    def letters(self) -> list[StoredLetter]:
        """What was set aside."""
        found = map(read_letter, self.broker.visible(LETTERS))
        return [each for each in found if each is not None]

    def audited(self, *marks: Mark) -> None:
        """What an operator did."""
        log = AuditLog(self.topics, self.registry, self.reader)
        if self.topics.partitions(audit.TOPIC) is None:
            self.broker.create(TopicSettings(audit.TOPIC, 1, "log"))
        keys, values = log.encode(marks, Actor("me", NAME, "r1"))
        for key, value in zip(keys, values, strict=True):
            self.broker.append(audit.TOPIC, value, key=key)

    def skip(self, partition: Partition, end: int) -> None:
        """Let a partition go on there."""
        self._position[partition] = end

    def _made(self, loaded: LoadedProduct) -> Task:
        maker = TaskMaker(
            loaded,
            lookup_ids(loaded.outputs.values(), self.registry),
            self.registry,
            self.topics,
            LetterWriter(LETTERS),
            stores=self._stores,
        )
        return maker.tasks()[INPUT]

    def _take(self, records: list[RawRecord]) -> Work:
        work = self._task.process(MemoryRecords(INPUT, records))
        self._stores.keep()
        if self._task.watermarks is not None:
            self._task.watermarks.keep()
        self._position.update(work.ends)
        return work

    def _publish(self, work: Work) -> None:
        for each in work.publications:
            for key, value in zip(each.keys, each.values, strict=True):
                self.broker.append(each.topic, value, key=key)
        for letter in work.letters:
            headers = tuple(letter.headers)
            self.broker.append(LETTERS, letter.value, key=letter.key, headers=headers)


@pytest.mark.parametrize("kind", KINDS)
def test_state_of_one_partition_is_recomputed_whatever_the_batches_were(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the run and of the proof are others, and another row is found."""
    monkeypatch.setattr(recomputation, "READ_AT_ONCE", 37)
    steps, fields = KINDS[kind]
    shop = Running(tmp_path, steps, fields, seed=len(kind))
    verdict = shop.recomputed()
    assert verdict.differences == []
    assert verdict.outcome == "equal"
    assert verdict.logged == verdict.recomputed > 20
    record = shop.broker.visible(NAME)[len(shop.broker.visible(NAME)) // 2]
    shop.broker.append(NAME, record.value, key=record.key)
    assert shop.recomputed().difference_count == 1


class Refusing(Running):
    """A product that counts, and cannot take numbers above 45."""

    STEPS: Final = (
        '.map(strict).group_by("id").agg(n=aggregates.sum("n"), note=aggregates.last("note"))'
    )

    def __init__(self, root: Path) -> None:
        super().__init__(root, self.STEPS, COUNTS)

    def product(self, root: Path, body: str, folder: str = "products/shop/copies") -> Path:
        return super().product(root, body.replace("class Seen", STRICT + "    class Seen"), folder)


STRICT: Final = """def strict(frame):
        if (frame["n"] > 45).any():
            raise ValueError("too many")
        return frame

"""


@pytest.fixture
def refusing(tmp_path: Path) -> Refusing:
    """Some were set aside, and it is equal without them."""
    shop = Refusing(tmp_path)
    assert len(shop.letters()) > 3
    assert shop.recomputed().outcome == "equal"
    return shop


def test_records_that_were_set_aside_are_left_out_though_today_they_would_be_taken(
    refusing: Refusing,
) -> None:
    """What is in the state of their keys came without them."""
    refusing.product(
        refusing.root,
        f"{HEAD}    product.publish(orders{Refusing.STEPS}, contract=1)\n".replace("> 45", "> 99"),
    )
    verdict = refusing.recomputed()
    assert verdict.outcome == "equal"
    assert verdict.left_out == len(refusing.letters())


def test_a_record_that_came_back_out_of_turn_makes_state_unprovable(refusing: Refusing) -> None:
    """It is counted behind others than it stands behind in the input."""
    letter = refusing.letters()[1]
    topic_id = refusing.topics.topic_id(LETTERS)
    place = (letter.partition, letter.offset)
    refusing.audited(Mark(Action.DISCARDED, *place, topic_id=topic_id, letter=letter))
    assert refusing.recomputed().outcome == "equal"
    refusing.audited(Mark(Action.REPLAYED, *place, topic_id=topic_id, letter=letter))
    with pytest.raises(UnverifiableError, match="came back out of turn") as told:
        refusing.recomputed()
    assert told.value.code == "NOT_RECOMPUTABLE"
    assert f"{letter.source}@{letter.source_offset}" in str(told.value)


def test_records_that_were_skipped_are_left_out(tmp_path: Path) -> None:
    """The position went on without them, by an order in the audit log; of this topic alone."""
    shop = Running(tmp_path, *KINDS["running"])
    place = Partition(INPUT, 0)
    start = shop.topics.ends(INPUT)[place]
    for _ in range(20):
        shop.order(1)
    end = shop.topics.ends(INPUT)[place]
    assert end > start
    shop.skip(place, end)
    shop.run()
    assert shop.recomputed().outcome == "different"
    mark = Mark(Action.SKIPPED, place, start, next_offset=end, topic_id="another")
    shop.audited(mark)
    assert shop.recomputed().outcome == "different"
    shop.audited(replace(mark, topic_id=shop.topics.topic_id(INPUT)))
    verdict = shop.recomputed()
    assert (verdict.outcome, verdict.left_out) == ("equal", end - start)


def test_state_whose_beginning_is_gone_is_refused(tmp_path: Path) -> None:
    """Of an input without state what is left can be compared; here what is gone is in it."""
    shop = Running(tmp_path, *KINDS["running"])
    shop.broker.partition(Partition(INPUT, 1)).truncate(3)
    with pytest.raises(UnverifiableError, match=r"has state.*orders\[1\] begins at 3") as told:
        shop.recomputed()
    assert told.value.code == "NOT_RECOMPUTABLE"


def test_of_a_log_with_state_what_is_left_is_compared(tmp_path: Path) -> None:
    """Retention takes rows of the log; the others are still what the inputs make."""
    shop = Running(tmp_path, *KINDS["closing windows"])
    shop.broker.partition(Partition(NAME, 0)).truncate(3)
    verdict = shop.recomputed()
    assert (verdict.outcome, verdict.difference_count, verdict.unchecked) == ("unverifiable", 0, 3)


def test_a_window_that_is_missing_is_told_by_its_partition(tmp_path: Path) -> None:
    """No single record made it."""
    shop = Losing(tmp_path, *KINDS["closing windows"])
    (line,) = shop.recomputed().differences
    assert line.startswith("what event time closed in shop.orders[")
    assert "makes a row that is not in the log" in line


class Losing(Running):
    """A product that lost the first row of all."""

    is_lost = False

    def _publish(self, work: Work) -> None:
        kept = []
        for each in work.publications:
            first = int(not self.is_lost and len(each.values) > 0)
            self.is_lost = self.is_lost or bool(first)
            kept.append(replace(each, keys=each.keys[first:], values=each.values[first:]))
        super()._publish(replace(work, publications=kept))


@pytest.mark.parametrize("partitions", [1, 2])
def test_event_time_that_the_clock_moves_is_refused(partitions: int, tmp_path: Path) -> None:
    """Of a partition that is alone it moves nothing."""
    shop = Running(tmp_path, *KINDS["closing windows"])
    file = shop.root / "products/shop/copies/product.py"
    file.write_text(file.read_text().replace("contract=1)", 'contract=1, idle_after="1s")', 1))
    loaded, topics = shop.loaded(), shop.topics
    if partitions == 1:
        topics = MemoryTopics(MemoryBroker())
        topics.create([TopicSettings(INPUT, 1, "source")])
    reason = why_not(loaded, topics)
    assert ("window-1 of shop.copies goes by event time" in reason) == (partitions > 1)
