"""Records of a table become rows. Never touches Kafka, never raises for bad data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from headwater.contract import (
    ROW,
    ROW_TYPE,
    Decoder,
    KeyReader,
    Rules,
    lookup_keys,
    schema_headers,
    size_of,
)
from headwater.engine.rulings import Rulings
from headwater.engine.screening import STEP, screen
from headwater.engine.selection import Selection
from headwater.errors import HaltedError
from headwater.flow import DELETED, TASK, TIME, TableRows, VersionedRows
from headwater.model import Code, OnIncompatible, Quarantine, Refusal, RuleViolation
from headwater.ports import Records


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of records of a table; of those refused the row of the key stayed as it was."""

    refused: Sequence[Refusal]
    violations: Sequence[RuleViolation]


class TableTask:
    """Takes the records of one table topic into its rows; a null value ends its key.

    Rows of a versioned table are valid since the event time of their contract; a null value has
    none, and ends its key at its publish time.
    """

    def __init__(
        self,
        decoder: Decoder,
        keys: KeyReader,
        rows: TableRows | VersionedRows,
        *,
        on_incompatible: OnIncompatible = "dead-letter",
    ) -> None:
        self.rows: Final = rows
        self._decoder = decoder
        self._keys = keys
        self._on_incompatible = on_incompatible
        self._rules = Rules(decoder.contract)

    def take(self, records: Records) -> list[Taken]:
        """Take them in, in pieces where their columns at once might be too large.

        Raises RetriableError when a schema cannot be had now: then the piece and what follows it
        was not taken in, and may all be given again. Raises HaltedError for a schema that can never
        be read unless such records are refused, and RuleBrokenError for a rule that stops.
        """
        expansion = self._decoder.expansion
        if expansion.bounds(len(records), size_of(records.values)):
            return [self._take(records)]
        pieces = expansion.pieces(records.values)
        return [self._take(Selection(records, list(piece))) for piece in pieces]

    def _take(self, records: Records) -> Taken:
        values = list(records.values)
        headers = records.headers()
        refused = {each.row: each for each in screen(records, headers)}
        refused |= self._bad_keys(records)
        ended = [row for row, each in enumerate(values) if each is None and row not in refused]
        for row in refused:
            values[row] = None  # the decoder sees none of its bytes
        decoded = self._decoder.decode(values, schema_headers(headers))
        unread = {each.row: each for each in decoded.quarantined}
        if decoded.unreadable and self._on_incompatible != "dead-letter":
            raise _halted(records, unread[decoded.unreadable[0]])
        rulings = Rulings(records)
        sound, broken = rulings.sound(self._rules, decoded.frame)
        refused = {**unread, **{each.row: each for each in broken}, **refused}
        for row in ended:
            del refused[row]  # a null value is no mistake here
        strays = self._apply(records, sound, ended)
        refused |= {each.row: each for each in strays}
        return Taken([_refusal(records, each) for each in refused.values()], rulings.violations)

    def _bad_keys(self, records: Records) -> dict[int, Quarantine]:
        faults = self._keys.faults(records.keys())
        return {row: Quarantine(row, Code.BAD_KEY, text, STEP) for row, text in faults.items()}

    def _apply(
        self, records: Records, sound: pl.DataFrame, ended: Sequence[int]
    ) -> list[Quarantine]:
        """Rows and ends of keys in the order of the log; gives those that cannot be held."""
        rows = [*sound[ROW], *ended] if ended else sound[ROW].to_list()
        held = records.keys()
        keys = lookup_keys(self._decoder.contract, [held[row] or b"" for row in rows])
        name = self.rows.key
        asked = keys.head(sound.height)
        misfits = {row: self._stray() for row in sound.filter(sound[name] != asked)[ROW]}
        names = [each for each in self.rows.columns if each != name]
        since = self._since(sound)
        misfits |= dict.fromkeys(sound.filter(since.is_null())[ROW], _TIMELESS)
        frame = sound.select(ROW, *names, since, pl.lit(value=False).alias(DELETED))
        if ended:
            frame = pl.concat([frame, _ends(records, ended)], how="diagonal")
        frame = frame.with_columns(keys.alias(name), _tasks(records, rows))
        if misfits:
            frame = frame.filter(~pl.col(ROW).is_in(list(misfits)))
        self.rows.apply(frame.sort(ROW) if ended else frame)
        return [Quarantine(row, code, text, STEP) for row, (code, text) in misfits.items()]

    def _since(self, sound: pl.DataFrame) -> pl.Series:
        """Since when rows are valid, in milliseconds; of a table that is not versioned, always."""
        event_time = self._decoder.contract.event_time
        if isinstance(self.rows, TableRows) or event_time is None:
            return pl.repeat(0, sound.height, dtype=pl.Int64, eager=True).alias(TIME)
        return sound[event_time].dt.epoch("ms").alias(TIME)

    def _stray(self) -> tuple[Code, str]:
        return Code.BAD_KEY, f"the key of the record is not the {self.rows.key} in its value"


_TIMELESS: Final = (Code.BAD_TEMPORAL, "the event time is null, so nothing says since when it is")


def _ends(records: Records, ended: Sequence[int]) -> pl.DataFrame:
    """Rows that end their keys at their publish time."""
    published = records.timestamps_ms()
    columns = {ROW: ended, TIME: [published[row] for row in ended], DELETED: [True] * len(ended)}
    return pl.DataFrame(columns, schema={ROW: ROW_TYPE, TIME: pl.Int64(), DELETED: pl.Boolean()})


def _tasks(records: Records, rows: Sequence[int]) -> pl.Series:
    """The task of each row: the partition of its record."""
    partitions = pl.Series(TASK, records.partitions(), dtype=pl.Int32)
    return partitions.gather(pl.Series(rows, dtype=ROW_TYPE))


def _refusal(records: Records, why: Quarantine) -> Refusal:
    record = records.raw(why.row)
    return Refusal(record.partition, record.offset, why.code, why.message)


def _halted(records: Records, why: Quarantine) -> HaltedError:
    record = records.raw(why.row)
    return HaltedError(
        f"the table {record.partition} cannot be read at offset {record.offset}: {why.message}; run"
        " a release whose contract can read it, or start with --on-incompatible dead-letter, and"
        " the rows of such keys stay as they were",
        code="INCOMPATIBLE_SCHEMA",
    )
