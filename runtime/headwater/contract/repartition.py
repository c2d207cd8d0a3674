"""Records of a repartition topic: rows on their way to the task of another key.

A value is a row of `StateRows` with what the reader must know of the record it was made of. A key
is what the producer of a topic with such a key would write, so that keys meet keys: of one column
of text or whole numbers as Kafka's serializers write it, else the bytes of `StateRows`. A null is
an empty key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from headwater.contract.keys import big_endian
from headwater.contract.state_rows import StateRows
from headwater.contract.tables import exported
from headwater.contract.types import ROW, ROW_TYPE, KeyEncoding

SOURCE: Final = "_source"
WATERMARK: Final = "_watermark"
TIME: Final = "_time"
PARTITION: Final = "_partition"
OFFSET: Final = "_offset"
NO_KEY: Final = b""
LINEAGE: Final[Mapping[str, pl.DataType]] = {
    name: pl.Int64() for name in (SOURCE, WATERMARK, TIME, PARTITION, OFFSET)
}
"""What travels beside the columns of a row.

The task that wrote it and its watermark at that record, the event time of the record, and the
partition and offset where the record stands in the input. A record without an offset is no row: it
tells how far event time has come, or without a watermark that its task is idle. Times are
milliseconds since 1970-01-01 UTC.
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """What was read: `rows` with `_row`, and `lineage`, one row per record, in order."""

    rows: pl.DataFrame
    lineage: pl.DataFrame


class RepartitionRows:
    """Encodes and decodes the records of one repartition topic; `key` are columns among `columns`.

    Raises DeclarationError (STATE_COLUMN) for a type or a name that has no Avro form.
    """

    def __init__(self, columns: Mapping[str, pl.DataType], key: Sequence[str]) -> None:
        self._columns = pl.Schema(columns)
        self._rows = StateRows({**columns, **LINEAGE})
        self._key = tuple(key)
        self._key_rows = StateRows({name: columns[name] for name in key})

    def encode(self, frame: pl.DataFrame, lineage: pl.DataFrame) -> tuple[list[bytes], list[bytes]]:
        """Keys and values of rows; `lineage` has a row for each of them."""
        return self._keys(frame), self._rows.encode(frame.with_columns(lineage.get_columns()))

    def marks(self, standings: Mapping[int, int | None]) -> list[bytes]:
        """A value per task that tells its watermark; None: it is idle."""
        nothing = pl.DataFrame(schema=self._rows.columns).clear(len(standings))
        return self._rows.encode(
            nothing.with_columns(
                pl.Series(SOURCE, list(standings), dtype=pl.Int64),
                pl.Series(WATERMARK, list(standings.values()), dtype=pl.Int64),
            )
        )

    def decode(self, values: Sequence[bytes]) -> Moved:
        """What values hold that were encoded here. Raises what `StateRows.decode` raises."""
        frame = self._rows.decode(values)
        numbered = frame.insert_column(0, pl.Series(ROW, range(frame.height), dtype=ROW_TYPE))
        rows = numbered.filter(pl.col(OFFSET).is_not_null()).select(ROW, *self._columns)
        return Moved(rows, numbered.select(*LINEAGE))

    def _keys(self, frame: pl.DataFrame) -> list[bytes]:
        if len(self._key) == 1:
            (name,) = self._key
            plain = _plain(frame[name])
            if plain is not None:
                return [NO_KEY if each is None else each for each in plain]
        if not frame.height:
            return []
        is_null = frame.select(pl.all_horizontal(pl.col(self._key).is_null())).to_series()
        keys = self._key_rows.encode(frame)
        return [NO_KEY if null else key for null, key in zip(is_null, keys, strict=True)]


def _plain(series: pl.Series) -> list[bytes | None] | None:
    """Keys as Kafka's own serializers write them; None for a type they have no plain form of."""
    if series.dtype in {pl.Int32(), pl.Int64()}:
        encoding: KeyEncoding = "int" if series.dtype == pl.Int32() else "long"
        keys: list[bytes | None] = big_endian(exported(series.fill_null(0)), encoding).to_pylist()
        if not series.null_count():
            return keys
        return [None if null else key for null, key in zip(series.is_null(), keys, strict=True)]
    if series.dtype == pl.String() or isinstance(series.dtype, pl.Enum):
        texts = exported(series.cast(pl.String))
        found: list[bytes | None] = texts.cast(pa.large_binary()).to_pylist()
        return found
    return None
