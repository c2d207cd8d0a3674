"""Damages record batches where the broker of the session keeps them: on disk."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer

from headwater.embedded.process import wait_until
from headwater.model import Partition

HEADER: Final = struct.Struct(">qiibIhi")  # base, length, epoch, magic, crc, attributes, last delta
CRC_FROM: Final = 21  # the checksum covers what follows it
LINGER_MS: Final = 10_000  # so that all until a flush, which waits for nothing, are one batch
TAIL: Final[dict[str, str | bytes | None]] = {"tail": b"\xff" * 16_384}
"""Headers of the last record of a batch whose checksum is going to be wrong.

After a wrong checksum librdkafka reads on somewhere within the batch, as far before its end as the
batch stands behind the beginning of the response, and takes what is there for another batch: where
it finds version 0 or 1, an assertion may end the process (docs/dead-letters.md). 0xff is no
version, so it gives up the rest of the response, in each run alike.
"""


def write_batch(
    config: Mapping[str, Any], partition: Partition, values: Sequence[bytes], *, is_gzip: bool
) -> None:
    """Write `values` with the key "k" as one batch; one that is not compressed ends in TAIL."""
    compression = "gzip" if is_gzip else "none"
    producer = Producer({**config, "linger.ms": LINGER_MS, "compression.type": compression})
    await_leader(producer, partition)
    for row, value in enumerate(values, 1):
        tail = None if is_gzip or row < len(values) else TAIL
        producer.produce(partition.topic, value, key=b"k", partition=partition.index, headers=tail)
    assert producer.flush(20) == 0


def await_leader(producer: Producer, partition: Partition) -> None:
    """Until the producer knows where to send.

    What it is given before waits elsewhere, and comes from there one by one: a flush that is under
    way by then sends the first of them as a batch of their own.
    """

    def is_known() -> bool:
        found = producer.list_topics(partition.topic, timeout=10).topics[partition.topic]
        return partition.index in found.partitions and found.partitions[partition.index].leader >= 0

    assert wait_until(is_known, 60)


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, which no library here offers."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def damage(home: Path, partition: Partition, offset: int, *, is_resealed: bool) -> int:
    """Flip a byte of the batch that begins at `offset`, on disk; returns the batch's last offset.

    The broker's page cache is the same file. Resealed, the checksum fits, the compression does not;
    not resealed, the batch must end in TAIL.
    """
    folder = home / ".headwater/kafka/log" / f"{partition.topic}-{partition.index}"
    (segment,) = folder.glob("*.log")
    data, at = segment.read_bytes(), 0
    while at < len(data):
        base, length, _, _, _, _, last = HEADER.unpack_from(data, at)
        if base == offset:
            batch = bytearray(data[at : at + 12 + length])
            batch[-8] ^= 0x10 if is_resealed else 0x01
            batch[70] ^= 0xFF
            if is_resealed:
                batch[17:CRC_FROM] = struct.pack(">I", crc32c(bytes(batch[CRC_FROM:])))
            with segment.open("r+b") as file:
                file.seek(at)
                file.write(batch)
            return int(base + last)
        at += 12 + length
    raise AssertionError(f"no batch begins at {offset}")
