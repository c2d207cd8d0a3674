"""One output of a product, as its consumers see it.

To open one loads no Polars and no Arrow: what reads its data is imported when that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, Self

from headwater.clock import SYSTEM, Clock
from headwater.errors import ReadRefusedError
from headwater.ports import LogReader, Registry, Table, TopicFollower, Topics
from headwater.reader.cuts import At, SnapshotCut, chosen, cuts, require_zone
from headwater.reader.deletions import End, Offsets
from headwater.reader.position import FilesRead, ReadPosition

if TYPE_CHECKING:
    from types import TracebackType

    from headwater.contract import Contract
    from headwater.reader.log import EventLog
    from headwater.reader.reading import Reading, Steps
    from headwater.reader.snapshot import Snapshot
    from headwater.snapshot.days import ClosedDays

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)  # publish times are not before it
Start = Literal["beginning", "end"] | SnapshotCut | datetime
Until = Literal["now"] | SnapshotCut | datetime | None


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a topic is read from. Each `open_...` gives one more handle or client."""

    topics: Topics
    registry: Registry
    open_table: Callable[[], Table]
    open_range_reader: Callable[[], LogReader]
    open_follower: Callable[[], TopicFollower]
    close: Callable[[], None] = lambda: None
    clock: Clock = SYSTEM


class Product:
    """One output of a product: its contract, its snapshots, its log; a context manager.

    `read_contract` is asked once, when the first of them is. Whatever reads the log raises
    UnavailableError when broker or registry do not answer.
    """

    def __init__(self, read_contract: Callable[[], Contract], sources: Sources) -> None:
        self._read_contract = read_contract
        self._opened = sources
        self._process = os.getpid()

    @cached_property
    def contract(self) -> Contract:
        """What its rows are. Raises DeclarationError where what is registered cannot be read."""
        return self._read_contract()

    @property
    def _sources(self) -> Sources:
        if os.getpid() != self._process:  # a call of Kafka's client would not come back
            raise ReadRefusedError(
                "This product was opened by the process that this one was forked from, and its"
                ' clients do not survive a fork: start processes by multiprocessing\'s "spawn", and'
                " open products there.",
                code="FORKED",
            )
        return self._opened

    @property
    def _log(self) -> EventLog:
        from headwater.reader.log import EventLog  # noqa: PLC0415  # loads Polars

        sources = self._sources
        return EventLog(self.contract, sources.topics, sources.registry, sources.clock)

    @property
    def topic(self) -> str:
        """The topic of its log."""
        return self.contract.topic

    def close(self) -> None:
        """Let go of the clients; what still reads has its own, but for that of the registry."""
        self._sources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def cuts(self) -> list[SnapshotCut]:
        """The cut of every snapshot that was committed, oldest first. Raises DamagedError."""
        return cuts(self._sources.open_table())

    def days(self, at: At = "latest") -> ClosedDays:
        """Which days of event time are closed in the table at a cut; of mode "daily" only.

        Raises what `snapshot` does.
        """
        return self.snapshot(at).days()

    def snapshot(self, at: At = "latest") -> Snapshot:
        """The table at a cut: the newest, by table version or commit id, or as of a time.

        Raises ReadRefusedError: NO_SNAPSHOT, CUT_UNKNOWN; DamagedError.
        """
        table = self._sources.open_table()
        return self._snapshot(table, chosen(cuts(table), at, table.location))

    def events(self, start: Start = "beginning", end: Until = None) -> Reading:
        """The log as frames, from a cut or a publish time on, up to one, to now, or for ever.

        Of a compacted topic what it still holds; `_deleted` tells of the rows that are deletions.
        A time that is not reached yet is now. Raises what `read` does, and BAD_PLACE, NO_ZONE.
        """
        place = self._log_position(start)
        return self._reading(replace(place, as_of_ms=None), self._end(end))

    def read(self, from_: str = "snapshot", until: Literal["now"] | None = None) -> Reading:
        """Every event once: the rows of the newest snapshot, then the log from its very cut.

        `from_` is "snapshot", "beginning" or "end" of the log, or a token, which goes on exactly
        behind the frame it was told at, within a snapshot too. Goes on for ever, or until the
        read_committed end of now. The snapshot's version is fixed here, whatever is committed
        meanwhile.
        Of a compacted topic, and from a snapshot of mode "latest", the newest row of a key replaces
        those before it, and one that is `_deleted` deletes it: so folded, what was read up to an
        end of the log is what was published up to there.
        Raises ReadRefusedError, here or while it is read: CUT_LOST when the log no longer reaches
        back to where it is to go on, or may have dropped deletions behind it, SOURCE_RECREATED,
        SNAPSHOT_GONE, NO_SNAPSHOT, TOPIC_MISSING, COMPACTED_TOPIC, BAD_TOKEN, TOKEN_OF_ANOTHER,
        FORKED;
        FatalError (UNREADABLE_RECORD), DamagedError.
        """
        return self._reading(self._place(from_), self._end(until))

    def tail(self, snapshot: Snapshot) -> Reading:
        """What was published since the cut of a snapshot, up to now. Raises what `read` does."""
        return self._reading(self._behind(snapshot.cut), self._end("now"))

    def _place(self, from_: str) -> ReadPosition:
        match from_:
            case "snapshot":
                cut = self.snapshot().cut
                first = FilesRead(cut.read_version, cut.commit_id)
                return replace(self._behind(cut), snapshot=first)
            case "beginning" | "end":
                return self._log_position(from_)
            case _:
                found = ReadPosition.from_text(from_)
        if found.topic != self.topic:
            raise ReadRefusedError(
                f"This token is of {found.topic}, not of {self.topic}; open that one, or begin"
                f" again.",
                code="TOKEN_OF_ANOTHER",
            )
        return found

    def _behind(self, cut: SnapshotCut) -> ReadPosition:
        """The place of the log at a cut."""
        self._log.topic_id()  # a topic that is there has settings
        if cut.mode != "latest" and not self._log.is_compacted():
            return ReadPosition(self.topic, cut.topic_id, cut.offsets)
        as_of_ms = int(cut.time.timestamp() * 1_000)
        return ReadPosition(
            self.topic, cut.topic_id, cut.offsets, is_upsert=True, as_of_ms=as_of_ms
        )

    def _log_position(self, start: Start) -> ReadPosition:
        """A place of the log from which on it is read as it is."""
        topic_id, is_upsert = self._log.topic_id(), self._log.is_compacted()
        as_of_ms = self._sources.clock.wall_ms() if is_upsert else None  # before the end is asked
        return ReadPosition(
            self.topic, topic_id, self._start(start), is_upsert=is_upsert, as_of_ms=as_of_ms
        )

    def _start(self, start: Start) -> Offsets:
        if start == "beginning":
            return self._log.beginning()
        if start == "end":
            return self._log.end().offsets
        return self._offsets(start)

    def _end(self, end: Until) -> End | None:
        if end is None:
            return None
        return self._log.end() if end == "now" else End(self._offsets(end))

    def _offsets(self, at: SnapshotCut | datetime) -> Offsets:
        if isinstance(at, datetime):
            since = max(require_zone(at) - EPOCH, timedelta())
            return self._log.at_time(-(-since // timedelta(milliseconds=1)))  # none before it
        if not isinstance(at, SnapshotCut):
            raise ReadRefusedError(
                f"{at!r} is no place of a log; give a cut, a time with its zone, or where it is to"
                ' begin "beginning" or "end", and where it is to end "now" or None.',
                code="BAD_PLACE",
            )
        if at.topic != self.topic:
            raise ReadRefusedError(
                f"This cut is of {at.topic}, not of {self.topic}.", code="TOKEN_OF_ANOTHER"
            )
        self._log.require_same(at.topic_id)
        return at.offsets

    def _reading(self, start: ReadPosition, end: End | None) -> Reading:
        from headwater.reader.frames import frame_columns  # noqa: PLC0415  # loads Polars
        from headwater.reader.reading import Reading  # noqa: PLC0415  # likewise

        snapshot = None if start.snapshot is None else self._pinned(start.snapshot)
        start = replace(start, as_of_ms=self._log.require_held(start).as_of_ms)
        columns = frame_columns(self.contract, is_upsert=start.is_upsert)
        return Reading(start, columns, self._steps(start, snapshot, end))

    def _pinned(self, place: FilesRead) -> Snapshot:
        """The rows that a position is among, whatever was committed since."""
        table = self._sources.open_table()
        cut = chosen(cuts(table), place.commit_id, table.location)
        return self._snapshot(table, replace(cut, read_version=place.version))

    def _snapshot(self, table: Table, cut: SnapshotCut) -> Snapshot:
        from headwater.reader.snapshot import Snapshot  # noqa: PLC0415  # loads Polars and Arrow
        from headwater.snapshot.rows import contract_of  # noqa: PLC0415  # likewise

        registry = self._sources.registry
        return Snapshot(
            table,
            self.contract,
            cut,
            lambda schema_id: contract_of(registry.schema(schema_id), schema_id, self.topic),
        )

    def _steps(self, start: ReadPosition, snapshot: Snapshot | None, end: End | None) -> Steps:
        from headwater.reader.frames import as_upserts  # noqa: PLC0415  # loads Polars

        if snapshot is not None and start.snapshot is not None:
            place = start.snapshot
            for frame, files, rows in snapshot.frames(place.files, place.rows):
                place = replace(place, files=files, rows=rows)
                found = as_upserts(frame) if start.is_upsert else frame
                yield found, replace(start, snapshot=place)
        behind = self._log.require_held(replace(start, snapshot=None))
        yield None, behind
        if end is None:
            with closing(self._sources.open_follower()) as follower:
                yield from self._log.follow(behind, follower)
        else:
            with closing(self._sources.open_range_reader()) as reader:
                yield from self._log.until(behind, end, reader)
