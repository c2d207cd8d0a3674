"""The notices of commits, on one topic for all products: what stands there, and how it is read.

A notice says where a table lies and how far it got. It is a hint: the table is the truth, and a
reader that misses a notice asks it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater.contract import ROW, ROW_TYPE, Contract, Decoder, Encoder, parse_contract
from headwater.ports import CommitRecord, DaysClosed, LogReader, Registry, Topics
from headwater.snapshot.multiset import to_text, total

TOPIC: Final = "_headwater.snapshots"
FILE: Final = Path(__file__).with_name("notice.avsc")
VERSION: Final = 1
RECORDS_AT_ONCE: Final = 10_000
MS: Final = 1000  # in a second
_OF_ANNOUNCED: Final = ("topic_id", "version", "commit_id", "location")


@dataclass(frozen=True, slots=True)
class Announced:
    """What the last notice of a table says of it."""

    topic_id: str
    version: int
    commit_id: str
    location: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table lies, and in which format: what its commits do not say of themselves."""

    location: str
    format: str


def notice_contract() -> Contract:
    """The contract of the notices, which Headwater brings along."""
    return parse_contract(FILE.read_text(encoding="utf-8"), topic=TOPIC, version=VERSION, path=FILE)


def last_notice(
    product: str, topic: str, *, topics: Topics, registry: Registry, reader: LogReader
) -> Announced | None:
    """The last notice of a topic of a product; None where there is none.

    Records that are no notices are passed over: they tell nothing.
    Raises UnavailableError when broker or registry do not answer.
    """
    if topics.partitions(TOPIC) is None:
        return None
    ends = topics.ends(TOPIC)
    beginnings = topics.beginnings(TOPIC)  # behind the ends: of each partition that has one
    decoder = Decoder(notice_contract(), registry.schema)
    ranges = {partition: (beginnings[partition], end) for partition, end in ends.items()}
    is_of = (pl.col("product") == product) & (pl.col("topic") == topic)
    found = None
    for records in reader.read(ranges, max_records=RECORDS_AT_ONCE):
        for row in decoder.decode(records.values).frame.filter(is_of).tail(1).to_dicts():
            found = Announced(*map(row.__getitem__, _OF_ANNOUNCED))
    return found


def encoded(
    commits: Sequence[tuple[int, CommitRecord]], place: Place, ids: tuple[int, int | None]
) -> tuple[Sequence[bytes | None], Sequence[bytes]]:
    """Keys and framed values of the notices of commits, each with its table version.

    `ids` are the registry's of the contract's values and keys.
    """
    contract = notice_contract()
    rows = [_fields(version, record, place) for version, record in commits]
    frame = pl.DataFrame(rows, schema=contract.columns)
    numbered = frame.with_columns(pl.int_range(pl.len(), dtype=ROW_TYPE).alias(ROW))
    done = Encoder(contract, *ids).encode(numbered)
    return done.keys, done.values


def _fields(version: int, record: CommitRecord, place: Place) -> Mapping[str, Any]:
    return {
        "product": record.product,
        "topic": record.topic,
        "topic_id": record.topic_id,
        "committed_at": datetime.fromtimestamp(record.committed_at_ms / MS, UTC),
        "commit_id": record.commit_id,
        "version": version,
        "location": place.location,
        "format": place.format,
        "mode": record.mode,
        "schema_id": record.schema_id,
        "rows": sum(each.rows for each in record.ranges),
        "hash": to_text(total(int(each.hash, 16) for each in record.ranges)),
        "cut": [{"partition": each.partition, "offset": each.end} for each in record.ranges],
        "days": None if record.days is None else list(_days(record.days)),
    }


def _days(days: DaysClosed) -> Iterator[Mapping[str, Any]]:
    """The last day that is closed now, which stands for all before it, and the corrected ones."""
    if days.before is not None:
        last = date.fromisoformat(days.before) - timedelta(days=1)
        yield {"day": last, "state": "assumed" if days.is_assumed else "complete"}
    for day in days.corrected:
        yield {"day": date.fromisoformat(day), "state": "corrected"}
