"""Damages record batches where the broker of the session keeps them: on disk."""

import struct
from pathlib import Path
from typing import Final

from headwater.model import Partition

HEADER: Final = struct.Struct(">qiibIhi")  # base, length, epoch, magic, crc, attributes, last delta
CRC_FROM: Final = 21  # the checksum covers what follows it


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

    The broker's page cache is the same file. Resealed, the checksum fits, the compression does not.
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
