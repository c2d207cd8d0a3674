"""Columns of one contract as those of another: what its events would be read as."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pyarrow as pa

from headwater.contract.arrays import Faults, Place
from headwater.contract.leaves import to_physical
from headwater.contract.resolve import Resolution, source_of
from headwater.contract.schema import Contract
from headwater.contract.tables import Rebuild, as_frame, exported
from headwater.model import Quarantine


class Translation:
    """Translates frames of `older` to `newer` by Avro's schema resolution, as decoding would.

    Only the columns in `names` are made, by default all. `reasons` tell why no row can be
    translated; empty when rows can.
    """

    def __init__(
        self, older: Contract, newer: Contract, names: Sequence[str] | None = None
    ) -> None:
        wanted = list(newer.columns) if names is None else list(names)
        fields = {each.name: each for each in newer.record.fields}
        reader = replace(newer.record, fields=tuple(fields[name] for name in wanted))
        resolution = Resolution(older.record, reader)
        self.reasons = resolution.reasons
        self._resolution = resolution
        self._columns = {name: newer.columns[name] for name in wanted}
        sources = [source_of(each, older.record) for each in reader.fields]
        self._sources = {each.name: each.type for each in sources if each is not None}

    @property
    def sources(self) -> list[str]:
        """The columns of the older contract that are read."""
        return list(self._sources)

    def translate(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Quarantine]]:
        """The rows that the newer contract takes, and the places of those it does not.

        `frame` has the columns in `sources`, in the older contract's types. Call it only when
        there are no `reasons`.
        """
        rebuild = Rebuild(to_physical, maps=True, strict=False)
        physical = {
            name: rebuild.apply(exported(frame[name]), type_, Place(name))
            for name, type_ in self._sources.items()
        }
        faults = Faults()
        arrays = self._resolution.resolve(physical, frame.height, faults)
        faults.found.update(rebuild.faults.found)
        rows = as_frame(pa.Table.from_arrays(arrays, names=list(self._columns)), self._columns)
        bad = [Quarantine(row, *found) for row, found in sorted(faults.found.items())]
        if bad:
            places = pl.int_range(frame.height, eager=True)
            rows = rows.filter(~places.is_in([each.row for each in bad]))
        return rows, bad
