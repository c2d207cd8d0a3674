"""The notices of commits, on one topic for all products: what stands there, and how it is read.

A notice says where a table lies and how far it got. It is a hint: the table is the truth, and a
reader that misses a notice asks it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater.contract import ROW, ROW_TYPE, Contract, Decoder, Encoder, parse_contract
from headwater.ports import CommitRecord, LogReader, Registry, Topics
from headwater.snapshot.multiset import to_text, total

TOPIC: Final = "_headwater.snapshots"
FILE: Final = Path(__file__).with_name("notice.avsc")
VERSION: Final = 1
RECORDS_AT_ONCE: Final = 10_000
MS: Final = 1000  # in a second


@dataclass(frozen=True, slots=True)
class Announced:
    """What the last notice of a table says of it."""

    topic_id: str
    version: int
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
    beginnings, ends = topics.beginnings(TOPIC), topics.ends(TOPIC)
    decoder = Decoder(notice_contract(), registry.schema)
    ranges = {partition: (beginnings[partition], end) for partition, end in ends.items()}
    is_of = (pl.col("product") == product) & (pl.col("topic") == topic)
    found = None
    for records in reader.read(ranges, max_records=RECORDS_AT_ONCE):
        for row in decoder.decode(records.values).frame.filter(is_of).tail(1).to_dicts():
            found = Announced(row["topic_id"], row["version"], row["location"])
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
        "days": None,  # no mode closes any
    }
