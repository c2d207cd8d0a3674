"""Where a key goes: the Java client's murmur2, so that keys meet keys in every adapter."""

from typing import Final

SEED: Final = 0x9747B28C  # Kafka's, in org.apache.kafka.common.utils.Utils
MULTIPLIER: Final = 0x5BD1E995
WORD: Final = 0xFFFFFFFF
POSITIVE: Final = 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition index of a key among `partitions`."""
    return (murmur2(key) & POSITIVE) % partitions


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 hash, unsigned."""
    whole = len(data) & ~3
    state = (SEED ^ len(data)) & WORD
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * MULTIPLIER & WORD
        word = (word ^ word >> 24) * MULTIPLIER & WORD
        state = state * MULTIPLIER & WORD ^ word
    if len(data) > whole:
        state = (state ^ int.from_bytes(data[whole:], "little")) * MULTIPLIER & WORD
    state = (state ^ state >> 13) * MULTIPLIER & WORD
    return state ^ state >> 15
