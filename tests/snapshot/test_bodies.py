"""What the very bytes of the log prove, and where its values must be looked at."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Never

import polars as pl
import pytest
from tests.snapshot.lake import OTHER_ID, SCHEMA_ID, SCHEMAS, TOPIC, Lake, codec

from headwater.adapters.memory import MemoryBroker, MemoryRangeReader, MemoryTopics
from headwater.contract import Decoder, Encoder
from headwater.contract.expansion import MAX_SLOTS
from headwater.model import Partition
from headwater.ports import Records, TopicSettings
from headwater.snapshot.rows import RowCodec


def test_a_log_that_we_wrote_is_proved_without_decoding_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the table that encode to the log's bytes are its rows; samples are read anyhow."""
    lake = Lake(tmp_path / "orders")

    def decode(*_: object) -> Never:
        raise AssertionError

    monkeypatch.setattr(Decoder, "decode", decode)
    monkeypatch.setattr(Decoder, "decode_unproved", decode)
    verdict = lake.verify()
    assert (verdict.outcome, verdict.rows) == ("equal", 300)
    assert verdict.sampled


@pytest.mark.parametrize("amount", [-0.0, -math.nan])
def test_values_with_several_encodings_are_proved_by_decoding(
    amount: float, tmp_path: Path
) -> None:
    """Other bytes than the table's rows encode to, and equal all the same."""
    lake = Lake(tmp_path / "orders")
    rows = pl.DataFrame({"id": ["order-300"], "amount": [amount], "_row": [0]})
    frame = rows.cast({"_row": pl.UInt32})
    encoder = Encoder(SCHEMAS[SCHEMA_ID], SCHEMA_ID)
    (value,) = encoder.encode(frame).values
    assert encoder.bodies(frame).values.to_pylist() != [value[5:]]
    lake.broker.append(TOPIC, value, key=b"order-300")
    assert lake.take().rows == 1
    verdict = lake.verify()
    assert (verdict.outcome, verdict.rows) == ("equal", 301)


def test_what_is_hashed_is_the_same_from_bytes_and_from_values(tmp_path: Path) -> None:
    """So a record's hash does not depend on how it was made."""
    (records,) = parts(Lake(tmp_path / "orders"))
    written = codec(SCHEMA_ID).as_written(records)
    assert written is not None
    assert written.columns.equals(codec(SCHEMA_ID)._decoded(records).numbered.columns)


def test_rows_beyond_the_bound_of_memory_are_proved_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not all are decoded again because they are many or large."""
    rows = pl.DataFrame({"id": [f"{n}" * 1_000_000 for n in range(9)], "amount": 1.0})
    encoded = Encoder(SCHEMAS[SCHEMA_ID], SCHEMA_ID).encode(rows.with_row_index("_row"))
    assert sum(map(len, encoded.values)) > 2 * MAX_SLOTS
    records = log_of(encoded.values)
    decoded = codec(SCHEMA_ID)._decoded(records)
    monkeypatch.setattr(Decoder, "decode", None)
    taken = codec(SCHEMA_ID).from_log(records)
    assert taken.frame.equals(decoded.frame)
    assert taken.numbered.columns.equals(decoded.numbered.columns)


def test_bytes_that_only_the_contract_makes_are_no_row_of_another_writer(
    tmp_path: Path,
) -> None:
    """Behind what it reads lies a byte that the default of a further field encodes to."""
    (records,) = parts(Lake(tmp_path / "orders"))
    longer = log_of(value + b"\0" for value in records.values if value)
    tried = RowCodec(SCHEMAS[OTHER_ID], SCHEMA_ID, lookup=lambda _: SCHEMAS[SCHEMA_ID].text)
    assert {str(bad.code) for _, bad in tried.from_log(longer).refused} == {"TRAILING_BYTES"}


def parts(lake: Lake) -> list[Records]:
    """The records of one partition."""
    end = sum(record.partition.index == 0 for record in lake.broker.visible(TOPIC))
    place = Partition(TOPIC, 0)
    return [*MemoryRangeReader(lake.broker).read({place: (0, end)}, max_records=1_000)]


def log_of(values: Iterable[bytes]) -> Records:
    """The records of a log of one partition."""
    broker = MemoryBroker()
    broker.create(TopicSettings(TOPIC, 1, "log"))
    for value in values:
        broker.append(TOPIC, value, key=b"order")
    place = Partition(TOPIC, 0)
    end = MemoryTopics(broker).ends(TOPIC)[place]
    (found,) = MemoryRangeReader(broker).read({place: (0, end)}, max_records=end)
    return found
