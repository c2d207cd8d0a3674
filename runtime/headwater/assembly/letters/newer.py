"""Which records of dead letters were overtaken: a later record of an output key was published.

Publish times separate most of it. What was published before a letter's record was first seen is
older; what was published after its letter is newer: a letter is published behind all outputs of its
batch. Between the two stand outputs of that batch, from records before and behind the letter's. For
these the input tells: whether a record of the same key stands behind it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.assembly.audit import Place
from headwater.assembly.letters.work import Key, LetterBatch, SetAside, place_of
from headwater.errors import UnverifiableError
from headwater.model import Partition
from headwater.ports import LogReader, Records, Topics

SCANNED_AT_ONCE: Final = 10_000
BATCH_RECORDS: Final = 1_000_000  # the most that the setting `poll_size` takes for one batch


@dataclass(frozen=True, slots=True)
class Overtaken:
    """How many output keys there are, how many hold newer values, and the letters concerned.

    `places` are those of the first letter of each record.
    """

    keys: int
    newer_keys: int
    places: frozenset[Place]


class Overtaking:
    """Looks for newer values in the outputs and, where these do not tell, in the inputs.

    `silent` are the places of input records that published nothing: their letters are not replayed.
    """

    def __init__(
        self, product: str, topics: Topics, reader: LogReader, silent: frozenset[Place]
    ) -> None:
        self._product = product
        self._topics = topics
        self._reader = reader
        self._silent = silent

    def overtaken(self, batches: Iterable[LetterBatch]) -> Overtaken:
        """The records overtaken, as the logs stand now.

        A record whose place in the input can no longer be read counts as overtaken when its batch
        published its key, and so does one whose output has another key than itself: nothing tells
        that those values are older.
        """
        keys: defaultdict[Key, list[SetAside]] = defaultdict(list)
        for batch in batches:
            for each, key in batch.outputs():
                keys[key].append(each)
        latest = self._latest(keys)
        since = [
            (key, each)
            for key, published_ms in latest.items()
            for each in keys[key]
            if published_ms >= each.history.first_seen_ms
        ]
        doubtful = [each for key, each in since if _is_doubtful(each, key, latest[key])]
        followed = self._followed(doubtful)
        newer = [
            (key, place_of(each.letters[0]))
            for key, each in since
            if place_of(each.letters[0]) in followed or not _is_doubtful(each, key, latest[key])
        ]
        places = frozenset(place for _, place in newer)
        return Overtaken(len(keys), len({key for key, _ in newer}), places)

    def _latest(self, keys: Mapping[Key, Sequence[SetAside]]) -> Mapping[Key, int]:
        """The last publish time of each key since any of its records was seen, milliseconds."""
        latest: dict[Key, int] = {}
        if not keys:
            return latest
        since_ms = min(each.history.first_seen_ms for held in keys.values() for each in held)
        for topic in sorted({topic for topic, _ in keys}):
            begin, end = self._topics.at_time(topic, since_ms), self._topics.ends(topic)
            ranges = {partition: (begin[partition], end[partition]) for partition in end}
            wanted = {key for held, key in keys if held == topic}
            for records in self._reader.read(ranges, max_records=SCANNED_AT_ONCE):
                for key, published_ms in zip(records.keys(), records.timestamps_ms(), strict=True):
                    if key in wanted and key is not None:
                        latest[topic, key] = max(published_ms, latest.get((topic, key), 0))
        return latest

    def _followed(self, doubtful: Sequence[SetAside]) -> frozenset[Place]:
        """The letters of records behind which one of the same key was published, or may have been.

        Only of the same input partition: between others there is no order.
        """
        found: set[Place] = set()
        by_partition: defaultdict[Partition, list[SetAside]] = defaultdict(list)
        for each in doubtful:
            by_partition[each.record.partition].append(each)
        for partition, held in by_partition.items():
            sought = _Sought(held)
            try:
                for records in self._behind(partition, held):
                    sought.look_at(records, self._silent)
            except UnverifiableError:  # the input no longer goes back so far
                sought = _Sought(held)
            found |= {place_of(each.letters[0]) for each in held if sought.is_followed(each)}
        return frozenset(found)

    def _behind(self, partition: Partition, held: Sequence[SetAside]) -> Iterator[Records]:
        """The input from the first of the records to where the batch of the last one ended.

        Reading beyond that harms nothing: what later batches published was newer by its time.
        """
        offsets = [each.record.offset for each in held]
        end = self._topics.group_offsets(self._product, partition.topic).get(partition, 0)
        left = BATCH_RECORDS
        ranges = {partition: (min(offsets), end)}
        for records in self._reader.read(ranges, max_records=SCANNED_AT_ONCE):
            yield records
            left -= len(records) if records.offsets()[0] > max(offsets) else 0
            if left <= 0:
                return


def _is_doubtful(each: SetAside, key: Key, published_ms: int) -> bool:
    """Whether the last value of this key may be of the record's batch, from before or behind it."""
    return key[1] == each.record.key and published_ms <= each.history.first_written_ms


class _Sought:
    """Records of one partition that are looked for, and the last published ones of their keys."""

    def __init__(self, held: Sequence[SetAside]) -> None:
        self._keys = {each.record.key for each in held}
        self._offsets = {each.record.offset for each in held}
        self._standing: set[tuple[int, int, bytes | None]] = set()
        self._last: dict[bytes | None, int] = {}

    def look_at(self, records: Records, silent: frozenset[Place]) -> None:
        partition = records.raw(0).partition
        columns = zip(records.offsets(), records.timestamps_ms(), records.keys(), strict=True)
        for offset, published_ms, key in columns:
            if key in self._keys:
                if offset in self._offsets:
                    self._standing.add((offset, published_ms, key))
                if (partition, offset) not in silent:
                    self._last[key] = offset

    def is_followed(self, each: SetAside) -> bool:
        """Also when the record no longer stands there: compacted away, or in a topic made anew."""
        record = each.record
        is_there = (record.offset, record.timestamp_ms, record.key) in self._standing
        return not is_there or self._last.get(record.key, -1) > record.offset
