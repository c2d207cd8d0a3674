"""The columns a snapshot has beside the contract's."""

from typing import Final

import pyarrow as pa

MICROSECONDS: Final = pa.timestamp("us", "UTC")  # of milliseconds; Delta knows no other unit

PLACE: Final = pa.schema(
    [
        pa.field("_partition", pa.int32(), nullable=False),
        pa.field("_offset", pa.int64(), nullable=False),
        pa.field("_timestamp", MICROSECONDS, nullable=False),
    ]
)
"""A row's place in the log and its publish time."""
