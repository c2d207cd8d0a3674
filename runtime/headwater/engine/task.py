"""From records to what a transaction publishes: decode, run the flow, encode.

All or nothing per input record.

Never touches Kafka, never raises for bad data.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from headwater.contract import Decoder, Encoded, Encoder
from headwater.engine.dead_letters import letters
from headwater.flow import MAX_ROWS, Plan, check_row_local
from headwater.model import Code, Letter, Positions, Quarantine
from headwater.ports import Records

GROWTH: Final = 2  # doublings: all proofs together cost about two of the largest
MAX_RECORD_BYTES: Final = 1_000_000  # below the broker's default limit for one batch of 1,048,588


@dataclass(frozen=True, slots=True)
class Route:
    """One output of one input: the plan between them, and how its rows are written."""

    topic: str
    plan: Plan
    encoder: Encoder


@dataclass(frozen=True, slots=True)
class Publication:
    """Columns to publish on one topic."""

    topic: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch of input records asks of the transaction."""

    topic: str
    read: int
    size: int
    ends: Positions
    publications: Sequence[Publication]
    dead_letters: str
    letters: Sequence[Letter]
    codes: Mapping[Code, int]
    skipped: int = 0


class Task:
    """Processes the records of one input topic."""

    def __init__(
        self,
        decoder: Decoder,
        routes: Sequence[Route],
        *,
        dead_letters: str,
        skip_tombstones: bool = False,
    ) -> None:
        self._decoder = decoder
        self._routes = routes
        self._dead_letters = dead_letters
        self._skip_tombstones = skip_tombstones
        self._rows_proven = 0

    def process(self, records: Records) -> Work:
        """The work of these records.

        Raises RetriableError when a schema cannot be had now, and DeclarationError
        (`BATCH_DEPENDENT`) when a batch shows that a step depends on batch boundaries.
        """
        decoded = self._decoder.decode(records.values)
        self._prove_row_local(decoded.frame)
        quarantined = list(decoded.quarantined)
        encoded: list[tuple[str, Encoded]] = []
        for route in self._routes:
            processed = route.plan.process(decoded.frame)
            published = route.encoder.encode(processed.frame)
            quarantined += [*processed.quarantined, *published.quarantined, *_oversized(published)]
            encoded.append((route.topic, published))
        quarantined, skipped = self._without_tombstones(records, quarantined)
        bad = frozenset(quarantine.row for quarantine in quarantined)
        return Work(
            topic=records.topic,
            read=len(records),
            size=sum(map(len, filter(None, records.values))),
            ends=records.ends(),
            publications=[_publication(topic, published, bad) for topic, published in encoded],
            dead_letters=self._dead_letters,
            letters=letters(records, quarantined) if quarantined else (),
            codes=Counter({q.row: q.code for q in reversed(quarantined)}.values()),
            skipped=skipped,
        )

    def _prove_row_local(self, frame: pl.DataFrame) -> None:
        """Promise 4, on real data, before anything of it is published.

        Asked again when batches grow: `head(500)` harms no batch of 100.
        """
        if self._rows_proven >= MAX_ROWS or frame.height < GROWTH * self._rows_proven:
            return
        for route in self._routes:
            check_row_local(route.plan, frame)
        self._rows_proven = frame.height

    def _without_tombstones(
        self, records: Records, quarantined: list[Quarantine]
    ) -> tuple[list[Quarantine], int]:
        """A stream over a compacted topic counts and skips tombstones."""
        if not self._skip_tombstones:
            return quarantined, 0
        kept = [q for q in quarantined if records.values[q.row] is not None]
        return kept, len(quarantined) - len(kept)


def _oversized(encoded: Encoded) -> list[Quarantine]:
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


def _publication(topic: str, encoded: Encoded, bad: frozenset[int]) -> Publication:
    """All or nothing: no output of a record that any output refused (promise 1)."""
    if not bad:
        return Publication(topic, encoded.keys, encoded.values)
    keep = [place for place, row in enumerate(encoded.rows) if row not in bad]
    return Publication(topic, [encoded.keys[i] for i in keep], [encoded.values[i] for i in keep])
