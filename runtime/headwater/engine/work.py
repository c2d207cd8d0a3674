"""What a batch of input records asks of the transaction that publishes it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import polars as pl

from headwater.model import (
    Code,
    Halt,
    Headers,
    Letter,
    Partition,
    Positions,
    RuleViolation,
)
from headwater.state import Changes


@dataclass(frozen=True, slots=True)
class Publication:
    """Columns to publish on one topic; `rows` are the rows of the batch they were made of.

    `headers` are those of every record of it.
    """

    topic: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes]
    rows: pl.Series
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch of input records asks of the transaction.

    `letter_rows` are the rows of the batch that the letters were made of. `too_late` counts the
    rows that were dropped because what they belong to had closed, by `<output>.<step>`,
    `duplicates` those that had come already, `superseded` those whose key had a later row, which a
    run need not tell: letting the latest through is what such a step is for, and `unordered` those
    that have nothing to be ordered by. `changes` are what the
    batch changed in stores, by changelog, and how far event time has come, by repartition topic.
    `is_internal`: the records are those of a repartition topic, and were counted once, as those
    they were made of.
    """

    topic: str
    read: int
    size: int
    ends: Positions
    publications: Sequence[Publication]
    dead_letters: str
    letters: Sequence[Letter]
    codes: Mapping[Code, int]
    skipped: int = 0
    halts: Sequence[Halt] = ()
    violations: Sequence[RuleViolation] = ()
    letter_rows: Sequence[int] = ()
    too_late: Mapping[str, int] = field(default_factory=dict)
    duplicates: Mapping[str, int] = field(default_factory=dict)
    superseded: Mapping[str, int] = field(default_factory=dict)
    unordered: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, Changes] = field(default_factory=dict)
    is_internal: bool = False

    def moved(self, rows: Sequence[int], records: int) -> "Work":
        """The same for a batch of so many records, of which its own are the `rows`."""
        if len(rows) == records:
            return self
        places = [*rows, records]  # behind the last: a row that no record made
        publications = [
            replace(each, rows=pl.Series(places, dtype=each.rows.dtype).gather(each.rows))
            for each in self.publications
        ]
        letter_rows = [places[row] for row in self.letter_rows]
        return replace(self, publications=publications, letter_rows=letter_rows)


def joined(works: Sequence[Work]) -> Work:
    """The work of a batch that was processed in pieces, at least one.

    Every piece has the same publications, in the same order.
    """
    first = works[0]
    if len(works) == 1:
        return first
    codes: Counter[Code] = Counter()
    too_late: Counter[str] = Counter()
    duplicates: Counter[str] = Counter()
    superseded: Counter[str] = Counter()
    unordered: Counter[str] = Counter()
    ends: dict[Partition, int] = {}
    for each in works:
        codes.update(each.codes)
        too_late.update(each.too_late)
        duplicates.update(each.duplicates)
        superseded.update(each.superseded)
        unordered.update(each.unordered)
        ends.update(each.ends)  # of several the last, which is the highest
    return Work(
        topic=first.topic,
        read=sum(each.read for each in works),
        size=sum(each.size for each in works),
        ends=ends,
        publications=[
            _joined(parts) for parts in zip(*(each.publications for each in works), strict=True)
        ],
        dead_letters=first.dead_letters,
        letters=[letter for each in works for letter in each.letters],
        codes=codes,
        skipped=sum(each.skipped for each in works),
        halts=[halt for each in works for halt in each.halts],
        violations=[violation for each in works for violation in each.violations],
        letter_rows=[row for each in works for row in each.letter_rows],
        too_late=too_late,
        duplicates=duplicates,
        superseded=superseded,
        unordered=unordered,
        is_internal=first.is_internal,
    )


def _joined(parts: Sequence[Publication]) -> Publication:
    return Publication(
        parts[0].topic,
        list(chain.from_iterable(part.keys for part in parts)),
        list(chain.from_iterable(part.values for part in parts)),
        pl.concat([part.rows for part in parts]),
        parts[0].headers,
    )
