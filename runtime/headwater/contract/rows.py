"""The row codec: one record at a time, strict; decides in case of doubt. Door of fastavro."""

import io
from collections.abc import Sequence
from typing import Any

import fastavro
import pyarrow as pa

from headwater.contract.physical import physical_schema
from headwater.contract.resolve import PHYSICAL
from headwater.contract.tree import Record, fold
from headwater.contract.wire import WireError, compile_reader


class RowDecoder:
    """Bodies of one writer's schema -> physical columns of `used`, the part of it that is read."""

    def __init__(self, writer: Record, used: Record) -> None:
        self._schema = fastavro.parse_schema(physical_schema(writer))
        self._check = compile_reader(writer)
        self._names = [each.name for each in used.fields]
        self._types = [fold(each.type, PHYSICAL) for each in used.fields]

    def decode(
        self, values: Sequence[bytes], start: int
    ) -> tuple[dict[str, Any], list[int], dict[int, WireError]]:
        """Columns of the sound values, their places in `values`, and the errors of the others.

        A body begins `start` bytes into its value.
        """
        errors = self.errors(values, start)
        sound = [row for row in range(len(values)) if row not in errors]
        records: list[Any] = []
        for row in sound:
            stream = io.BytesIO(values[row])
            stream.seek(start)
            records.append(fastavro.schemaless_reader(stream, self._schema, None))
        columns = {
            name: pa.array([record[name] for record in records], kind)
            for name, kind in zip(self._names, self._types, strict=True)
        }
        return columns, sound, errors

    def errors(self, values: Sequence[bytes], start: int) -> dict[int, WireError]:
        """What is wrong with values, by their places; at half the cost of decoding them."""
        errors: dict[int, WireError] = {}
        for row, value in enumerate(values):
            try:
                self._check(value, start)
            except WireError as error:
                errors[row] = error
        return errors


class RowEncoder:
    """Physical columns of one schema -> values, each beginning with `prefix`."""

    def __init__(self, record: Record, prefix: bytes) -> None:
        self._schema = fastavro.parse_schema(physical_schema(record))
        self._names = [each.name for each in record.fields]
        self._prefix = prefix

    def encode(self, columns: Sequence[Any]) -> list[bytes]:
        """One value per row; `columns` in the order of the fields."""
        lists = [each.to_pylist(maps_as_pydicts="strict") for each in columns]
        values = []
        for row in zip(*lists, strict=True):
            stream = io.BytesIO()
            stream.write(self._prefix)
            fastavro.schemaless_writer(
                stream, self._schema, dict(zip(self._names, row, strict=True))
            )
            values.append(stream.getvalue())
        return values
