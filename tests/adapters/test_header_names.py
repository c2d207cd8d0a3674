"""Names of headers that are not UTF-8, as another client may write them, on the real broker."""

import struct
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Producer
from tests.adapters.outside import Member, Outside, until
from tests.faults.damaging import CRC_FROM, HEADER, crc32c

from headwater.adapters.kafka.consumer import KafkaSource
from headwater.embedded import Addresses
from headwater.model import UNREADABLE_HEADERS, Partition

NAME: Final = b"a-name"


def rename_header(home: Path, partition: Partition) -> None:
    """Make the first header named `NAME` one that is not UTF-8: no client here would write it."""
    folder = home / ".headwater/kafka/log" / f"{partition.topic}-{partition.index}"
    (segment,) = folder.glob("*.log")
    data, at = segment.read_bytes(), 0
    while NAME not in data[at : at + 12 + HEADER.unpack_from(data, at)[1]]:
        at += 12 + HEADER.unpack_from(data, at)[1]
    batch = bytearray(data[at : at + 12 + HEADER.unpack_from(data, at)[1]])
    place = batch.index(NAME)
    batch[place : place + len(NAME)] = b"a\xff\xfe\x00\xc3("
    batch[17:CRC_FROM] = struct.pack(">I", crc32c(bytes(batch[CRC_FROM:])))
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(batch)


@pytest.mark.kafka
@pytest.mark.parametrize("outside", ["kafka"], indirect=True)
def test_a_header_name_that_is_not_utf8_costs_its_record_alone(
    outside: Outside, stack: Addresses, session_home: Path
) -> None:
    """The client raises once for such a message, and would end the process if asked again."""
    topic = outside.topic("in", 1)
    producer = Producer({"bootstrap.servers": stack.kafka, "linger.ms": 100})
    for text in (b"1", b"2", b"3"):
        name = NAME.decode() if text == b"2" else "trace"
        producer.produce(topic, text, partition=0, headers=[(name, text), ("more", text)])
    assert producer.flush(10) == 0
    rename_header(session_home, Partition(topic, 0))
    reader = outside.member(topic)
    assert isinstance(reader.source, KafkaSource)
    until(lambda: len(reader.records) == 3, reader)
    _check(reader)


def _check(reader: Member) -> None:
    sound = [[("trace", text), ("more", text)] for text in (b"1", b"3")]
    assert [record.value for record in reader.records] == [b"1", b"2", b"3"]
    found = [record.headers for record in reader.records]
    assert [list(found[0]), list(found[2])] == sound
    assert found[1] == UNREADABLE_HEADERS
