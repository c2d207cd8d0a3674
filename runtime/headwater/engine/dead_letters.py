"""Quarantined records become letters: raw key, value and headers, and the error as further headers.

The headers mirror Kafka Connect's `__connect.errors.*` (KIP-298) under our own prefix.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headwater.clock import SYSTEM, Clock
from headwater.contract import named_schema
from headwater.engine.limit import BadRecordWindow
from headwater.model import (
    ELSEWHERE,
    UNREADABLE_HEADERS,
    Code,
    Headers,
    Letter,
    Partition,
    Positions,
    Quarantine,
    RawRecord,
)
from headwater.ports import LogReader, Records, Topics

PREFIX: Final = "headwater.error."
TOPIC: Final = PREFIX + "topic"
PARTITION: Final = PREFIX + "partition"
OFFSET: Final = PREFIX + "offset"
OMITTED: Final = b"omitted, too large"
UNREADABLE: Final = b"omitted, not UTF-8"
IN_THE_INPUT: Final = b"omitted, stands in the input"
WHOLE: Final = ("key", "value", "headers")
OMISSIONS: Final = (OMITTED, UNREADABLE, IN_THE_INPUT)
REFUSED_FOR: Final = {Code.OVERSIZED_IN: "value", Code.TOO_MANY_HEADERS: "headers"}
SCHEMA_ID: Final = "schema.id"
SCHEMA_GUID: Final = "schema.guid"
BEHIND: Final = "behind"
MAX_LETTER_BYTES: Final = 1_000_000
"""Below the broker's default of 1,048,588 for one batch, with room for headers."""


@dataclass(frozen=True, slots=True)
class LetterWriter:
    """Writes the letters of one release of a product, for the topic they go to."""

    topic: str
    release: str = ""
    clock: Clock = field(default=SYSTEM, compare=False)

    def letters(self, records: Records, quarantined: Sequence[Quarantine]) -> list[Letter]:
        """One letter per quarantined record, in log order; of several errors the first tells."""
        first: dict[int, Quarantine] = {}
        for quarantine in quarantined:
            first.setdefault(quarantine.row, quarantine)
        history = {
            "release": self.release,
            "first.seen": str(self.clock.wall_ms()),
            "attempts": "1",
        }
        return [_letter(records.raw(row), first[row], history) for row in sorted(first)]


def _letter(record: RawRecord, quarantine: Quarantine, history: Mapping[str, str]) -> Letter:
    """Whole when it fits; else without value, key or headers, the largest first given up.

    Topic, partition and offset among the error headers lead to the record all the same. What a
    record was refused for, its value's size or its headers, is never carried on.
    """
    parts = {
        "value": len(record.value or b""),
        "key": len(record.key or b""),
        "headers": _size(record.headers),
    }
    errors = [*_error_headers(record, quarantine), *_encoded(history)]
    omitted = set()
    if record.headers == UNREADABLE_HEADERS:
        parts.pop("headers")
        omitted.add("headers")
        errors.append((PREFIX + "headers", UNREADABLE))
    if record.headers == ELSEWHERE:
        omitted |= set(WHOLE)
        errors += [(PREFIX + name, IN_THE_INPUT) for name in WHOLE]
        parts.clear()
    for name in sorted(parts, key=parts.__getitem__, reverse=True):
        is_fitting = sum(parts.values()) <= MAX_LETTER_BYTES
        if is_fitting and name != REFUSED_FOR.get(quarantine.code):
            continue
        parts[name] = 0
        omitted.add(name)
        errors.append((PREFIX + name, OMITTED))
    return Letter(
        key=None if "key" in omitted else record.key,
        value=None if "value" in omitted else record.value,
        headers=errors if "headers" in omitted else [*record.headers, *errors],
    )


def _size(headers: Headers) -> int:
    return sum(len(name) + len(text or b"") for name, text in headers)


def _error_headers(record: RawRecord, quarantine: Quarantine) -> Headers:
    fields = {
        "code": quarantine.code.value,
        "message": quarantine.message,
        "step": quarantine.step,
        "topic": record.partition.topic,
        "partition": str(record.partition.index),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp_ms),
    }
    if quarantine.behind is not None:
        fields[BEHIND] = str(quarantine.behind)
    schema = named_schema(record.value, record.headers)
    if schema is not None:
        fields[SCHEMA_ID if isinstance(schema, int) else SCHEMA_GUID] = str(schema)
    return _encoded(fields)


def _encoded(fields: Mapping[str, str]) -> Headers:
    return [(PREFIX + name, text.encode()) for name, text in fields.items()]


def source_position(headers: Headers) -> tuple[str, int, int] | None:
    """Topic, partition index and offset a letter was made of; None when it does not say."""
    found = dict(headers)
    topic, partition, offset = found.get(TOPIC), found.get(PARTITION), found.get(OFFSET)
    if topic is None or partition is None or offset is None:
        return None
    try:
        return topic.decode(), int(partition), int(offset)
    except ValueError:  # written by somebody else
        return None


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A letter as it stands in its topic: what its headers say, without any payload.

    Its record stood at `source`, `source_offset`, published at `published_ms`. `omitted` names
    what could not be kept: value, key, headers. Times are milliseconds since the epoch.
    The record was first seen while its batch was processed; its first letter was written behind
    all that was published of that batch.
    The writer's schema has an id or a GUID, as the record names it, or neither.
    `behind` is the offset of the record in `source` that was set aside first, of those of its key
    that have to come back in order; None for that one itself, and where no order is kept.
    `is_behind_rekey`: it tells of a row that was made of the record, behind a change of key.
    """

    partition: Partition
    offset: int
    source: Partition
    source_offset: int
    code: str
    message: str
    step: str
    release: str
    published_ms: int
    first_seen_ms: int
    first_written_ms: int
    attempts: int
    schema_id: int | None
    schema_guid: str | None
    omitted: frozenset[str]
    behind: int | None = None
    is_behind_rekey: bool = False


def read_letter(raw: RawRecord) -> StoredLetter | None:
    """What a record of a dead-letter topic says of itself; None when it is no letter of ours.

    Letters of older releases do not say when they were first seen, or how often: then it is when
    they were written, and once. When the first letter of a record was written, a later one says;
    where it does not, when the record was first seen is the earliest that it can be.
    """
    place = source_position(raw.headers)
    if place is None:
        return None
    errors = raw.headers[_errors_begin(raw.headers) :]
    said = {
        name.removeprefix(PREFIX): (text or b"").decode("utf-8", "replace") for name, text in errors
    }
    attempts = _number(said.get("attempts"), 1)
    first_seen_ms = _number(said.get("first.seen"), raw.timestamp_ms)
    written_ms = raw.timestamp_ms if attempts == 1 else first_seen_ms
    return StoredLetter(
        partition=raw.partition,
        offset=raw.offset,
        source=Partition(place[0], place[1]),
        source_offset=place[2],
        code=said.get("code", ""),
        message=said.get("message", ""),
        step=said.get("step", ""),
        release=said.get("release", ""),
        published_ms=_number(said.get("timestamp"), raw.timestamp_ms),
        first_seen_ms=first_seen_ms,
        first_written_ms=_number(said.get("first.written"), written_ms),
        attempts=attempts,
        schema_id=_number(said[SCHEMA_ID], 0) if SCHEMA_ID in said else None,
        schema_guid=said.get(SCHEMA_GUID),
        omitted=frozenset(name for name, text in said.items() if text.encode() in OMISSIONS),
        behind=_number(said[BEHIND], place[2]) if BEHIND in said else None,
        is_behind_rekey=IN_THE_INPUT.decode() in {said.get(name) for name in WHOLE},
    )


def original(raw: RawRecord, letter: StoredLetter) -> RawRecord:
    """The record a letter was made of, as far as the letter holds it."""
    return RawRecord(
        partition=letter.source,
        offset=letter.source_offset,
        timestamp_ms=letter.published_ms,
        key=raw.key,
        value=raw.value,
        headers=raw.headers[: _errors_begin(raw.headers)],
    )


def again(letter: Letter, before: StoredLetter) -> Letter:
    """The letter of a replay that failed: one attempt more, first seen when it was.

    Whatever follows it goes on to wait for what it waited for. One of a row behind a change of key
    stays one of that row, though its record fails in front of it by now.
    """
    history = {
        PREFIX + "first.seen": str(before.first_seen_ms).encode(),
        PREFIX + "attempts": str(before.attempts + 1).encode(),
    }
    begin = _errors_begin(letter.headers)
    errors = [(name, history.get(name, text)) for name, text in letter.headers[begin:]]
    added = {"first.written": str(before.first_written_ms)}
    if before.behind is not None:
        added[BEHIND] = str(before.behind)
    if before.is_behind_rekey:
        parts = [(PREFIX + name, IN_THE_INPUT) for name in WHOLE]
        said = [each for each in errors if each[0] not in dict(parts)]
        return Letter(None, None, [*said, *_encoded(added), *parts])
    headers = [*letter.headers[:begin], *errors, *_encoded(added)]
    return Letter(letter.key, letter.value, headers)


def _errors_begin(headers: Headers) -> int:
    """Where our headers begin, behind the record's own: that one may have been a letter too."""
    places = [place for place, (name, _) in enumerate(headers) if name == PREFIX + "code"]
    return places[-1] if places else len(headers)


def _number(text: str | None, otherwise: int) -> int:
    try:
        return otherwise if text is None else int(text)
    except ValueError:  # written by somebody else
        return otherwise


class DeadLetterTail:
    """The newest dead letters: what a start knows of the records before it (promise 6)."""

    def __init__(self, topic: str, reader: LogReader, topics: Topics) -> None:
        self._topic = topic
        self._reader = reader
        self._topics = topics

    def restore(self, window: BadRecordWindow, positions: Positions) -> None:
        """Fill the window with the records before `positions` and the bad ones among them."""
        firsts: dict[Partition, int] = {}
        for topic in {partition.topic for partition in positions}:
            firsts.update(self._topics.beginnings(topic))
        letters = self._letters(window.size)

        def last(records: int) -> tuple[int, Counter[Code | None]]:
            floors = _floors(firsts, positions, records)
            codes = Counter(
                code
                for (partition, offset), code in letters.items()
                if partition in floors and floors[partition] <= offset < positions[partition]
            )
            return sum(positions[p] - floor for p, floor in floors.items()), codes

        window.restore(last)

    def _letters(self, most: int) -> Mapping[tuple[Partition, int], Code | None]:
        """The codes of the newest letters by their source.

        A replay that failed is no second bad record, and one that merely waits is none.
        """
        if self._topics.partitions(self._topic) is None:
            return {}
        first, end = self._topics.beginnings(self._topic), self._topics.ends(self._topic)
        ranges = {p: (max(first[p], end[p] - most), end[p]) for p in end}
        found: dict[tuple[Partition, int], Code | None] = {}
        for records in self._reader.read(ranges, max_records=most):
            for row in range(len(records)):
                headers = records.raw(row).headers
                place = source_position(headers)
                if place is not None and (code := _code(headers)) is not Code.PARKED:
                    found[Partition(place[0], place[1]), place[2]] = code
        return found


def _floors(firsts: Positions, ends: Positions, records: int) -> Positions:
    """Where the last so many records begin: shared out evenly, as far as the partitions have them.

    Which of two partitions was written last is not known; that one has no more, is.
    """
    lengths = {p: max(0, end - firsts.get(p, 0)) for p, end in ends.items()}
    floors: dict[Partition, int] = {}
    left = records
    for done, partition in enumerate(sorted(lengths, key=lengths.__getitem__)):
        taken = min(lengths[partition], left // (len(lengths) - done))
        floors[partition] = ends[partition] - taken
        left -= taken
    return floors


def _code(headers: Headers) -> Code | None:
    """The code of a letter; None for one of another release."""
    text = (dict(headers).get(PREFIX + "code") or b"").decode(errors="replace")
    return Code(text) if text in Code.__members__ else None
