"""The row codec: one record at a time, strict; decides in case of doubt. Door of fastavro."""

import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

import fastavro
import pyarrow as pa

from headwater.contract.physical import physical_schema
from headwater.contract.resolve import PHYSICAL
from headwater.contract.tree import Record, fold
from headwater.contract.wire import compile_reader
from headwater.contract.wire_leaves import WireError

ROWS_AT_ONCE: Final = 1_024
WEIGHT_AT_ONCE: Final = 2**20
"""Bytes and elements of records whose Python objects are alive at one time, and of one more.

A record of one field inside a collection is the worst: a dict, some 200 bytes.
"""


class RowDecoder:
    """Bodies of one writer's schema -> physical columns of `used`, the part of it that is read."""

    def __init__(self, writer: Record, used: Record) -> None:
        self._read = compile_reader(writer)
        self._names = [each.name for each in writer.fields]
        self._types = {each.name: fold(each.type, PHYSICAL) for each in used.fields}

    def decode(
        self, values: Sequence[bytes], start: int, errors: dict[int, WireError]
    ) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Columns of the sound values with their places in `values`, some at a time.

        A body begins `start` bytes into its value. What is wrong with the others joins `errors`.
        """
        places: list[int] = []
        records: list[dict[str, Any]] = []
        weight = 0
        for place, value in enumerate(values):
            try:
                record, elements = self._read(value, start)
            except WireError as error:
                errors[place] = error
                continue
            weight += len(value) + elements
            if places and (len(places) == ROWS_AT_ONCE or weight > WEIGHT_AT_ONCE):
                yield self._columns(records), places
                places, records, weight = [], [], len(value) + elements
            places.append(place)
            records.append(record)
        if places:
            yield self._columns(records), places

    def _columns(self, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
        rows = map(dict.values, records)
        columns = dict(zip(self._names, zip(*rows, strict=True), strict=True))
        return {name: pa.array(columns[name], kind) for name, kind in self._types.items()}

    def errors(self, values: Sequence[bytes], start: int) -> dict[int, WireError]:
        """What is wrong with values, by their places."""
        errors: dict[int, WireError] = {}
        for row, value in enumerate(values):
            try:
                self._read(value, start)
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
