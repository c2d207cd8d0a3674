"""Notices of commits: each once, behind the commit, and what a reader finds there."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.snapshot.lake import TOPIC as ORDERS
from tests.snapshot.lake import Lake

from headwater.adapters.memory import MemoryRangeReader, MemoryTopics, MemoryTransactionalLog
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.announcing import Announcer
from headwater.contract import Decoder
from headwater.errors import FencedError, StartRefusedError, UnavailableError
from headwater.model import Partition, Positions
from headwater.ports import CommitRecord, TopicSettings
from headwater.snapshot.multiset import to_text, total
from headwater.snapshot.notices import TOPIC, Announced, last_notice, notice_contract


class Office:
    """A lake whose commits are announced."""

    def __init__(self, directory: Path) -> None:
        self.lake = Lake(directory)
        self.broker = self.lake.broker
        self.registry = MemoryRegistry()
        self.topics, self.reader = MemoryTopics(self.broker), MemoryRangeReader(self.broker)

    def announce(self, *, is_creating: bool = True) -> int:
        """As a process of its own would."""
        return Announcer(
            self.topics,
            self.registry,
            self.reader,
            lambda: MemoryTransactionalLog(self.broker, transactional_id=f"{ORDERS}.snapshots"),
            is_creating=is_creating,
        ).announce(ORDERS, ORDERS, self.lake.table(), "delta")

    def last(self, product: str = ORDERS) -> Announced | None:
        """What a reader finds."""
        return last_notice(
            product, ORDERS, topics=self.topics, registry=self.registry, reader=self.reader
        )

    def notices(self) -> Iterator[dict[str, Any]]:
        """Every notice that was written, oldest first."""
        ranges = {p: (0, end) for p, end in self.topics.ends(TOPIC).items()}
        for records in self.reader.read(ranges, max_records=100):
            decoded = Decoder(notice_contract(), self.registry.schema).decode(records.values)
            yield from decoded.frame.iter_rows(named=True)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Two commits, neither of them announced."""
    return Office(tmp_path / ORDERS)


def test_each_commit_is_announced_once_with_what_it_recorded(office: Office) -> None:
    """Version, cut, rows and hash are those of the commit; nothing new, no notice."""
    assert office.announce() == 2
    assert office.announce() == 0
    notices = list(office.notices())
    commits = office.lake.table().commits()
    assert [each["version"] for each in notices] == [version for version, _ in commits]
    record = commits[-1][1]
    assert isinstance(record, CommitRecord)
    cut = {end["partition"]: end["offset"] for end in notices[-1]["cut"]}
    assert cut == {each.partition: each.end for each in record.ranges}
    assert [each["rows"] for each in notices] == [200, 100]
    assert notices[-1]["hash"] == to_text(total(int(each.hash, 16) for each in record.ranges))
    named = ("product", "topic", "topic_id", "commit_id", "schema_id", "mode")
    assert {name: notices[-1][name] for name in named} == {n: getattr(record, n) for n in named}
    assert (notices[-1]["location"], notices[-1]["format"]) == (
        str(office.lake.directory),
        "delta",
    )


def test_a_notice_that_was_not_written_is_written_by_whoever_comes_next(office: Office) -> None:
    """A crash between commit and notice, or a broker away: the topic tells what is missing."""
    office.announce()
    office.lake.publish(300, 310)
    office.lake.take()
    office.broker.faults.script("commit", UnavailableError("away"))
    with pytest.raises(UnavailableError):
        office.announce()
    _, record = office.lake.table().commits()[1]
    assert isinstance(record, CommitRecord)
    place = str(office.lake.directory)
    assert office.last() == Announced(_topic_id(office), 2, record.commit_id, place)
    office.lake.publish(310, 320)
    office.lake.take()
    assert office.announce() == 2
    assert [each["version"] for each in office.notices()] == [1, 2, 3, 4]


def test_notices_are_read_while_their_topic_is_given_partitions(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that comes between two looks nothing is known, and nothing fails."""
    office.announce()
    before, asked = office.last(), MemoryTopics.beginnings

    def grown(topics: MemoryTopics, topic: str) -> Positions:
        found = asked(topics, topic)
        office.lake.broker.grow(TOPIC, 3)
        return found

    monkeypatch.setattr(MemoryTopics, "beginnings", grown)
    assert office.last() == before


def test_a_reader_finds_the_last_notice_of_its_product_among_all(office: Office) -> None:
    """Other products' notices, and records that are none, tell nothing of this one."""
    assert office.last() is None
    office.announce()
    office.broker.append(TOPIC, b"no notice at all", key=b"x")
    found = office.last()
    assert found is not None
    assert (found.version, found.location) == (2, str(office.lake.directory))
    assert office.last("shop.others") is None


@pytest.mark.parametrize("more", [0, 10], ids=["shorter", "of as many versions"])
def test_a_table_that_was_begun_anew_in_its_place_is_announced(office: Office, more: int) -> None:
    """Its versions count from one again, so the last notice is behind nothing of it."""
    office.announce()
    shutil.rmtree(office.lake.directory)
    office.lake.take()
    if more:
        office.lake.publish(300, 300 + more)
        office.lake.take()
    assert office.announce() == 1 + bool(more)
    assert office.announce() == 0


def test_a_table_that_was_moved_is_announced_again(office: Office) -> None:
    """Readers that look for it find the new place."""
    office.announce()
    moved = office.lake.directory.rename(office.lake.directory.with_name("moved"))
    office.lake.directory = moved
    assert office.announce() == 2
    found = office.last()
    assert found is not None
    assert found.location == str(moved)


def test_a_missing_topic_is_created_compacted_in_dev_and_asked_for_elsewhere(
    office: Office,
) -> None:
    """Nobody's broker is changed in production; the commits stand."""
    with pytest.raises(StartRefusedError, match=r"create it with one partition") as caught:
        office.announce(is_creating=False)
    assert caught.value.code == "NOTICES_TOPIC"
    office.announce()
    assert office.topics.config(TOPIC)["cleanup.policy"] == "compact"
    assert office.topics.partitions(TOPIC) == 1


def test_a_topic_that_forgets_notices_is_refused(office: Office) -> None:
    """With deletion by age, a product that rests would not be found any more."""
    office.broker.create(TopicSettings(TOPIC, 1, "log", {"cleanup.policy": "delete"}))
    with pytest.raises(StartRefusedError, match=r"cleanup.policy is delete, expected compact"):
        office.announce()


def test_whoever_announces_takes_the_id_over(office: Office) -> None:
    """Two at once: the first is fenced, and nothing of it is half written."""
    office.announce()
    log = MemoryTransactionalLog(office.broker, transactional_id=f"{ORDERS}.snapshots")
    log.initialise()
    log.begin()
    office.lake.publish(300, 310)
    office.lake.take()
    assert office.announce() == 1
    with pytest.raises(FencedError):
        log.produce(TOPIC, [b"key"], [b"value"])
    assert office.topics.ends(TOPIC)[Partition(TOPIC, 0)] > 0


def _topic_id(office: Office) -> str:
    return office.topics.topic_id(ORDERS)
