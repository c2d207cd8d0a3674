"""Rows of a table under one contract, whichever version of it each was taken under.

They are what the log gives for the same events: fields that came later have their defaults.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
import polars as pl
import pyarrow as pa

from headwater.contract import Contract, Translation, arrow_schema, from_arrow
from headwater.contract.resolve import source_of
from headwater.contract.tree import Enum, Type, optional
from headwater.errors import FatalError, ReadRefusedError
from headwater.ports import CommitRecord
from headwater.snapshot.columns import has_fields_of
from headwater.snapshot.layout import Layout
from headwater.snapshot.place import PLACE

ContractOf = Callable[[int], Contract]
"""The contract that the registry knows under a schema id."""


class ContractRows:
    """Reads rows of a table's version as those of `contract`; `records` are its cuts, in order.

    Of mode "latest" all rows are of the newest cut's schema; of the others a row is of that of the
    cut whose range it lies in.
    """

    def __init__(
        self, contract: Contract, records: Sequence[CommitRecord], contract_of: ContractOf
    ) -> None:
        self._contract = contract
        if records and records[-1].mode == "latest":
            records = records[-1:]
        self._layouts = {
            each.schema_id: Layout(contract_of(each.schema_id), each.stored_names)
            for each in {each.schema_id: each for each in records}.values()
        }
        self._begins = _begins(records)
        self._translations: dict[tuple[int, tuple[str, ...]], Translation] = {}

    def are_as_stored(self, stored: pa.Schema) -> bool:
        """Whether rows of these stored columns are the contract's by the names of columns alone.

        A column that is not stored, or is null in older rows, has null for its default then.
        """
        types = dict(zip(stored.names, stored.types, strict=True))
        return all(
            types[each.name].equals(each.type) or has_fields_of(types[each.name], each.type)
            for each in arrow_schema(self._contract)
            if each.name in types
        ) and all(_is_plain(each, self._contract) for each in self._layouts.values())

    def stored_columns(self, names: Sequence[str], stored: pa.Schema) -> list[str]:
        """The stored columns that columns of the contract are made of, and the places."""
        needed = {
            layout.stored_names.get(source, source)
            for schema_id, layout in self._layouts.items()
            for source in self._translation(schema_id, names).sources
        }
        return [each for each in stored.names if each in needed or each in PLACE.names]

    def frame(self, rows: pa.Table, names: Sequence[str] | None = None) -> pl.DataFrame:
        """Rows in the contract's types with their places, in their order.

        `names` are the contract's columns, by default all. Raises ReadRefusedError
        (SNAPSHOT_COLUMNS) when the contract reads no row of a schema that some were taken under,
        and FatalError (UNREADABLE_RECORD) when it does not read one of them.
        """
        wanted = list(self._contract.columns if names is None else names)
        if not self._begins:
            return self._read(rows, next(iter(self._layouts)), wanted)
        parts = [
            (places, self._read(rows.take(places), schema_id, wanted))
            for schema_id, places in self._split(rows)
        ]
        if len(parts) == 1:
            return parts[0][1]
        order = np.argsort(np.concatenate([places for places, _ in parts]))
        return pl.concat([each for _, each in parts])[order]

    def _split(self, rows: pa.Table) -> Iterator[tuple[int, np.ndarray]]:
        """The schemas that rows were taken under, each with the places of its rows."""
        partitions, offsets = rows["_partition"].to_numpy(), rows["_offset"].to_numpy()
        taken = np.full(rows.num_rows, next(iter(self._layouts)))
        for partition, (begins, schema_ids) in self._begins.items():
            places = np.flatnonzero(partitions == partition)
            # what lies before every cut that is known is of the first of them
            found = np.searchsorted(begins, offsets[places], side="right") - 1
            taken[places] = schema_ids[np.maximum(found, 0)]
        for schema_id in np.unique(taken):
            yield int(schema_id), np.flatnonzero(taken == schema_id)

    def _read(self, rows: pa.Table, schema_id: int, names: Sequence[str]) -> pl.DataFrame:
        layout = self._layouts[schema_id]
        translation = self._translation(schema_id, names)
        stored = layout.from_stored(rows).select([*translation.sources, *PLACE.names])
        frame = from_arrow(stored, layout.contract)
        if layout.contract.record == self._contract.record:
            return frame.select([*names, *PLACE.names])
        made, bad = translation.translate(frame)
        if bad:
            place = frame.row(bad[0].row, named=True)
            raise FatalError(
                f"{self._contract.topic}[{place['_partition']}]@{place['_offset']} of the snapshot"
                f" is no row of the contract v{self._contract.version} ({bad[0].message}); ask the"
                f" product's owner.",
                code="UNREADABLE_RECORD",
            )
        return pl.concat([made, frame.select(PLACE.names)], how="horizontal")

    def _translation(self, schema_id: int, names: Sequence[str]) -> Translation:
        asked = schema_id, tuple(names)
        if asked not in self._translations:
            made = Translation(self._layouts[schema_id].contract, self._contract, names)
            if made.reasons:
                raise ReadRefusedError(
                    f"The snapshot of {self._contract.topic} has rows that its contract"
                    f" v{self._contract.version} cannot read ({'; '.join(made.reasons)}); ask the"
                    f" product's owner for a contract that reads the older ones.",
                    code="SNAPSHOT_COLUMNS",
                )
            self._translations[asked] = made
        return self._translations[asked]


def _begins(records: Sequence[CommitRecord]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """By partition, the first offsets from which on rows were taken under which schema."""
    if len({each.schema_id for each in records}) < 2:  # noqa: PLR2004  # nothing to tell apart
        return {}
    found: dict[int, list[tuple[int, int]]] = {}
    for record in records:
        for taken in record.ranges:
            found.setdefault(taken.partition, []).append((taken.start, record.schema_id))
    made = {}
    for partition, begins in found.items():
        firsts = [next(same) for _, same in groupby(sorted(begins), key=lambda each: each[1])]
        offsets, schema_ids = zip(*firsts, strict=True)
        made[partition] = np.array(offsets), np.array(schema_ids)
    return made


def _is_plain(layout: Layout, contract: Contract) -> bool:
    """Whether what is stored of an older version is what the contract reads, and null where not."""
    if layout.stored_names:
        return False
    for each in contract.record.fields:
        source = source_of(each, layout.contract.record)
        if source is None:
            if each.default is not None:
                return False
        elif source.name != each.name or not _is_held_as(source.type, each.type):
            return False
    return True


def _is_held_as(written: Type, wanted: Type) -> bool:
    match optional(written) or written, optional(wanted) or wanted:
        case Enum(symbols=held), Enum(symbols=known):
            return set(held) <= set(known)
        case held, known:
            return held == known
