"""The task of a section behind a repartition topic: rows in, as another task of ours wrote them."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

import polars as pl

from headwater.contract import ROW, Moved, RepartitionRows
from headwater.engine.dead_letters import LetterWriter
from headwater.engine.given import TIME, Given
from headwater.engine.repartition import PLACE
from headwater.engine.routes import Route, Routes
from headwater.engine.sources import SourceWatermarks
from headwater.engine.task import Task
from headwater.errors import FatalError, RebuildError, StartRefusedError
from headwater.flow import Batch
from headwater.model import ELSEWHERE, Headers, Partition, Positions, Quarantine, RawRecord
from headwater.ports import Records

OTHER_COLUMNS: Final = "STATE_COLUMNS"  # as the rows of a store say it


class SectionTask(Task):
    """Processes the records of one repartition topic.

    `origin` is the input that its rows were made of, which `sources` tasks read. A row that is
    refused is told by the place of its record there; other rows of that record may have gone on.
    """

    is_internal = True

    def __init__(
        self,
        rows: RepartitionRows,
        routes: Sequence[Route],
        *,
        origin: str,
        sources: int,
        dead_letters: LetterWriter,
    ) -> None:
        self._rows = rows
        self._origin = origin
        self._marks = SourceWatermarks(sources)
        self.watermarks = self._marks
        self.routes = Routes(routes)
        self._dead_letters = dead_letters

    def _parts(
        self,
        records: Records,
        size: int,  # noqa: ARG002 - rows of ours take no more than their bytes
    ) -> Sequence[Sequence[int]]:
        return [range(len(records))]

    def _given(self, records: Records, guilty: Sequence[Quarantine]) -> Given:
        moved = self._decoded(records)
        frame = moved.rows
        if guilty:
            refused = pl.Series([each.row for each in guilty], dtype=frame[ROW].dtype)
            frame = frame.filter(~pl.col(ROW).is_in(refused.implode()))
        originals = _Originals(records, moved.lineage, self._origin)
        return Given(originals, [frame], guilty, moved.lineage)

    def _batch(self, given: Given, reached: Mapping[int, int]) -> Batch:
        """Of a row that is refused the watermark counts: it is not the row's own."""
        tasks, offsets = (
            pl.Series(each, dtype=pl.Int64)
            for each in (given.records.partitions(), given.records.offsets())
        )
        marks, risen = self._marks.heard(tasks, given.lineage)
        return Batch(tasks, offsets, given.lineage[TIME], marks, {**reached, **risen})

    def _decoded(self, records: Records) -> Moved:
        try:
            return self._rows.decode(cast("Sequence[bytes]", records.values))  # we write no nulls
        except RebuildError as error:
            raise FatalError(
                f"{records.topic} holds records that are none of ours; find out who writes there, "
                "and run the product under another name",
                code="REPARTITION_DAMAGED",
            ) from error
        except FatalError as error:
            if error.code != OTHER_COLUMNS:
                raise
            raise StartRefusedError(
                f"{records.topic} holds rows of other columns than this release moves; let the "
                "release before it read them with `headwater run --until-end`, then start "
                "this one",
                code="REPARTITION_COLUMNS",
            ) from error


class _Originals:
    """The records of a repartition topic as the records of the input they were made of.

    The port `Records`. The bytes stand in the input.
    """

    def __init__(self, records: Records, lineage: pl.DataFrame, origin: str) -> None:
        self.topic = records.topic
        self.values = records.values
        self._records = records
        self._lineage = lineage
        self._origin = origin

    def __len__(self) -> int:
        return len(self._records)

    def ends(self) -> Positions:
        """Of the repartition topic: what is committed."""
        return self._records.ends()

    def raw(self, row: int) -> RawRecord:
        """Where the record stands in the input, without its bytes."""
        index, offset = (self._lineage[name][row] for name in PLACE)
        (timestamp_ms,) = self._records.timestamps_ms()[row : row + 1]
        return RawRecord(
            Partition(self._origin, index), offset, timestamp_ms, None, None, ELSEWHERE
        )

    def keys(self) -> Sequence[bytes | None]:
        """The keys of the rows."""
        return self._records.keys()

    def headers(self) -> Mapping[int, Headers]:
        """None."""
        return {}

    def partitions(self) -> Sequence[int]:
        """The tasks of the rows."""
        return self._records.partitions()

    def offsets(self) -> Sequence[int]:
        """The places of the rows."""
        return self._records.offsets()

    def timestamps_ms(self) -> Sequence[int]:
        """When the rows were written."""
        return self._records.timestamps_ms()
