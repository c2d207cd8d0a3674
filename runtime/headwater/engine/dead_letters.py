"""Quarantined records become letters: raw key, value and headers, and the error as further headers.

The headers mirror Kafka Connect's `__connect.errors.*` (KIP-298) under our own prefix.
"""

from collections.abc import Sequence
from typing import Final

from headwater.model import Headers, Letter, Quarantine, RawRecord
from headwater.ports import Records

PREFIX: Final = "headwater.error."
CODE: Final = PREFIX + "code"
TOPIC: Final = PREFIX + "topic"
PARTITION: Final = PREFIX + "partition"
OFFSET: Final = PREFIX + "offset"
FRAME_BYTES: Final = 5
MAX_LETTER_BYTES: Final = 1_000_000
"""Below the broker's default of 1,048,588 for one batch, with room for headers."""


def letters(records: Records, quarantined: Sequence[Quarantine]) -> list[Letter]:
    """One letter per quarantined record, in log order; of several errors the first tells."""
    first: dict[int, Quarantine] = {}
    for quarantine in quarantined:
        first.setdefault(quarantine.row, quarantine)
    return [_letter(records.raw(row), first[row]) for row in sorted(first)]


def _letter(record: RawRecord, quarantine: Quarantine) -> Letter:
    value = record.value
    headers = [*record.headers, *_error_headers(record, quarantine)]
    if value is not None and len(value) > MAX_LETTER_BYTES:
        # a reference is all that fits: topic, partition and offset lead to the record
        headers.append((PREFIX + "value", b"omitted, too large"))
        value = None
    return Letter(key=record.key, value=value, headers=headers)


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
    value = record.value
    if value is not None and len(value) >= FRAME_BYTES and value[0] == 0:
        fields["schema.id"] = str(int.from_bytes(value[1:FRAME_BYTES], "big"))
    return [(PREFIX + name, text.encode()) for name, text in fields.items()]


def source_position(headers: Headers) -> tuple[str, int, int] | None:
    """Topic, partition index and offset a letter was made of; None when it does not say."""
    found = dict(headers)
    topic, partition, offset = found.get(TOPIC), found.get(PARTITION), found.get(OFFSET)
    if topic is None or partition is None or offset is None:
        return None
    return topic.decode(), int(partition), int(offset)
