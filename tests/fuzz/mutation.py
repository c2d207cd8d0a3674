"""Damage to framed values: bits, bytes, lengths and counts, and pieces of other values."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

FRAME_BYTES: Final = 5
MAX_GROWN: Final = 20_000  # bytes: as large as repeated pieces make a value
TELLING: Final = bytes([0, 1, 2, 3, 0x3F, 0x40, 0x7F, 0x80, 0x81, 0xC0, 0xED, 0xF4, 0xFE, 0xFF])
"""Bytes that mean something: small numbers, ends of ranges, parts of varints and of UTF-8."""
NUMBERS: Final = (
    *(-1, -2, -64, 63, 64, 127, 128, 1_000, 65_536, 67_000_000),
    *(2**31 - 1, 2**31, -(2**31) - 1, 2**32, 2**53, 2**63 - 1, -(2**63)),
)
"""Lengths, counts and indexes that hurt."""


def varint(number: int) -> bytes:
    """A number as Avro writes it: zigzag, seven bits a byte."""
    zigzag = (number << 1) ^ (number >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


class Mutator:
    """Mutates values by one source of chance, so that a seed is a case to run again."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._kinds: Sequence[Callable[[bytearray, Sequence[bytes]], None]] = (
            self._flip,
            self._truncate,
            self._insert,
            self._overwrite,
            self._delete,
            self._splice,
            self._blow_up,
            self._overlong,
            self._repeat,
        )

    def mutate(self, value: bytes, others: Sequence[bytes]) -> bytes:
        """One to four mutations; `others` lend pieces. The frame is spared nineteen times of 20."""
        for _ in range(8):  # a mutation may find nothing to do
            out = bytearray(value)
            for _ in range(self._random.choice((1, 1, 1, 2, 4))):
                self._random.choice(self._kinds)(out, others)
            if out != value:
                return bytes(out)
        return value + b"\0"

    def _at(self, out: bytearray) -> int:
        first = 0 if self._random.random() < 0.05 else FRAME_BYTES
        return self._random.randint(min(first, len(out)), len(out))

    def _flip(self, out: bytearray, _others: Sequence[bytes]) -> None:
        for _ in range(self._random.choice((1, 1, 2, 8))):
            if (at := self._at(out)) < len(out):
                out[at] ^= 1 << self._random.randrange(8)

    def _truncate(self, out: bytearray, _: Sequence[bytes]) -> None:
        del out[self._at(out) :]

    def _insert(self, out: bytearray, _: Sequence[bytes]) -> None:
        at = self._at(out)
        out[at:at] = self._some()

    def _overwrite(self, out: bytearray, _: Sequence[bytes]) -> None:
        at, some = self._at(out), self._some()
        out[at : at + len(some)] = some

    def _delete(self, out: bytearray, _: Sequence[bytes]) -> None:
        at = self._at(out)
        del out[at : at + self._random.randint(1, 8)]

    def _splice(self, out: bytearray, others: Sequence[bytes]) -> None:
        other = self._random.choice(others)
        out[self._at(out) :] = other[self._random.randint(0, len(other)) :]

    def _blow_up(self, out: bytearray, _: Sequence[bytes]) -> None:
        at = self._at(out)
        out[at : at + self._random.randint(0, 2)] = varint(self._random.choice(NUMBERS))

    def _overlong(self, out: bytearray, _: Sequence[bytes]) -> None:
        at, length = self._at(out), self._random.choice((1, 2, 8, 9, 10, 11, 30))
        last = self._random.choice((0, 1, 2, 0x7F, 0x80))
        out[at : at + 1] = self._random.choice((b"\x80", b"\xff")) * length + bytes([last])

    def _repeat(self, out: bytearray, _: Sequence[bytes]) -> None:
        at = self._at(out)
        piece = bytes(out[at : at + self._random.randint(1, 16)])
        times = self._random.choice((1, 2, 10, 100, 2_000))
        out[at:at] = (piece * times)[: max(0, MAX_GROWN - len(out))]

    def _some(self) -> bytes:
        length = self._random.choice((1, 1, 2, 4, 9))
        if self._random.random() < 0.5:
            return self._random.randbytes(length)
        return bytes(self._random.choices(TELLING, k=length))
