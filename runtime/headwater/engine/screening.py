"""Which records are refused before a library sees a byte of them.

Runs on every batch, so a clean one costs a few passes in C and no Python per record.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

import polars as pl

from headwater.contract import ROW, Encoded, KeyReader
from headwater.model import UNREADABLE_HEADERS, Code, Headers, Quarantine
from headwater.ports import Records

MAX_RECORD_BYTES: Final = 1_000_000
"""Of a value read, or of a key and value to publish.

Below the broker's default limit for one batch of 1,048,588: what is larger could neither be passed
on nor be set aside whole.
"""
MAX_HEADERS: Final = 1_000  # tracing and routing take some ten
MAX_HEADER_BYTES: Final = 262_144  # 256 KiB: leaves most of a dead letter to the value
STEP: Final = "screening"


def screen(records: Records, headers: Mapping[int, Headers]) -> list[Quarantine]:
    """The records to keep away from the decoder, at most one reason each, in no order.

    `headers` are those of the records.
    """
    found = [*_oversized(records), *_unreadable(headers), *_crowded(headers)]
    return list({each.row: each for each in reversed(found)}.values())


def screen_keys(
    readers: Sequence[KeyReader], records: Records, frames: Sequence[pl.DataFrame]
) -> tuple[list[pl.DataFrame], list[Quarantine]]:
    """The rows of each type whose keys are what its contract says, and the others.

    Raises RetriableError when the schema of a framed key cannot be had now.
    """
    keys = records.keys()
    sound: list[pl.DataFrame] = []
    refused: list[Quarantine] = []
    for reader, frame in zip(readers, frames, strict=True):
        rows = range(len(keys)) if frame.height == len(keys) else frame[ROW].to_list()
        faults = reader.faults(keys if frame.height == len(keys) else [keys[row] for row in rows])
        found = {rows[place]: fault for place, fault in faults.items()}
        refused += [Quarantine(row, Code.BAD_KEY, fault, STEP) for row, fault in found.items()]
        sound.append(frame.filter(~frame[ROW].is_in(list(found))) if found else frame)
    return sound, refused


def _oversized(records: Records) -> Iterator[Quarantine]:
    if max(map(len, filter(None, records.values)), default=0) <= MAX_RECORD_BYTES:
        return
    for row, value in enumerate(records.values):
        if value is not None and len(value) > MAX_RECORD_BYTES:
            message = f"a value of {len(value)} bytes; more than {MAX_RECORD_BYTES} are refused"
            yield Quarantine(row, Code.OVERSIZED_IN, message, STEP)


def _unreadable(headers: Mapping[int, Headers]) -> Iterator[Quarantine]:
    if UNREADABLE_HEADERS not in headers.values():
        return
    for row, each in headers.items():
        if each == UNREADABLE_HEADERS:
            yield Quarantine(row, Code.BAD_UTF8, "a header's name is not UTF-8", STEP)


def _crowded(headers: Mapping[int, Headers]) -> Iterator[Quarantine]:
    if not headers or _are_few(headers):
        return
    for row, each in headers.items():
        if (fault := too_many(each)) is not None:
            yield Quarantine(row, Code.TOO_MANY_HEADERS, fault, STEP)


def _are_few(headers: Mapping[int, Headers]) -> bool:
    """Whether the most headers of a record times the longest name or value is within the bound."""
    most = max(map(len, headers.values()))
    if most > MAX_HEADERS:
        return False
    parts = chain.from_iterable(chain.from_iterable(headers.values()))
    return 2 * most * max(map(len, filter(None, parts)), default=0) <= MAX_HEADER_BYTES


def too_many(headers: Headers) -> str | None:
    """Why the headers of a record are too many or too large; None when they are not."""
    if len(headers) > MAX_HEADERS:
        return f"{len(headers)} headers; more than {MAX_HEADERS} are refused"
    size = sum(len(name) + len(text or b"") for name, text in headers)
    if size > MAX_HEADER_BYTES:
        return f"headers of {size} bytes; more than {MAX_HEADER_BYTES} are refused"
    return None


def oversized(encoded: Encoded) -> list[Quarantine]:
    """The records with an output that no broker takes."""
    # a key is made of fields that the value holds too: it is never longer
    if 2 * max(map(len, encoded.values), default=0) <= MAX_RECORD_BYTES:
        return []
    return [
        Quarantine(
            row,
            Code.MSG_SIZE_TOO_LARGE,
            f"an output is larger than {MAX_RECORD_BYTES} bytes",
            "encode",
        )
        for row, key, value in zip(encoded.rows, encoded.keys, encoded.values, strict=True)
        if _length(key) + len(value) > MAX_RECORD_BYTES
    ]


def _length(key: bytes | None) -> int:
    return 0 if key is None else len(key)
