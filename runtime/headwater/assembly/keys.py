"""Keys of records as people write them."""

from collections.abc import Iterator
from typing import Final

WIDTHS: Final = (32, 64)  # bits that Kafka's integer and long serializers write


def encodings_of(text: str) -> Iterator[bytes]:
    """The bytes of a record's key that this text may mean.

    UTF-8, a whole number as Kafka's serializers write it, or `0x` and hex digits.
    """
    yield text.encode()
    try:
        number = int(text)
    except ValueError:
        pass  # a text then, which was told
    else:
        for bits in WIDTHS:
            if -(1 << bits - 1) <= number < 1 << bits - 1:
                yield number.to_bytes(bits // 8, "big", signed=True)
    if text.startswith("0x"):
        try:
            yield bytes.fromhex(text[2:])
        except ValueError:
            return
