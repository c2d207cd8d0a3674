"""One output of a product, as its consumers see it."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from headwater.clock import SYSTEM, Clock
from headwater.contract import Contract
from headwater.errors import ReadRefusedError
from headwater.ports import LogReader, Registry, Table, TopicFollower, Topics
from headwater.reader.cuts import At, SnapshotCut, chosen, cuts, require_zone
from headwater.reader.log import EventLog, Offsets
from headwater.reader.position import FilesRead, ReadPosition
from headwater.reader.reading import Reading, Steps
from headwater.reader.snapshot import Snapshot
from headwater.snapshot.place import PLACE
from headwater.snapshot.rows import contract_of

Start = Literal["beginning", "end"] | SnapshotCut | datetime
End = Literal["now"] | SnapshotCut | datetime | None


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

    Whatever reads the log raises UnavailableError when broker or registry do not answer.
    """

    def __init__(self, contract: Contract, sources: Sources) -> None:
        self.contract = contract
        self._sources = sources
        self._log = EventLog(contract, sources.topics, sources.registry, sources.clock)

    @property
    def topic(self) -> str:
        """The topic of its log."""
        return self.contract.topic

    @property
    def columns(self) -> list[str]:
        """The columns of every frame: the contract's, then where and when a row was published."""
        return [*self.contract.columns, *PLACE.names]

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

    def snapshot(self, at: At = "latest") -> Snapshot:
        """The table at a cut: the newest, by table version or commit id, or as of a time.

        Raises ReadRefusedError: NO_SNAPSHOT, CUT_UNKNOWN; DamagedError.
        """
        table = self._sources.open_table()
        return self._snapshot(table, chosen(cuts(table), at, table.location))

    def events(self, start: Start = "beginning", end: End = None) -> Reading:
        """The log as frames, from a cut or a publish time on, up to one, to now, or for ever.

        Raises what `read` does.
        """
        topic_id = self._log.topic_id()
        offsets = self._start(start)
        return self._reading(ReadPosition(self.topic, topic_id, offsets), self._end(end))

    def read(self, from_: str = "snapshot", until: Literal["now"] | None = None) -> Reading:
        """Every event once: the rows of the newest snapshot, then the log from its very cut.

        `from_` is "snapshot", "beginning" or "end" of the log, or a token, which goes on exactly
        behind the frame it was told at, within a snapshot too. Goes on for ever, or until the
        read_committed end of now. The snapshot's version is fixed here, whatever is committed
        meanwhile.
        Raises ReadRefusedError, here or while it is read: CUT_LOST when the log no longer reaches
        back to where it is to go on, SOURCE_RECREATED, SNAPSHOT_GONE, NO_SNAPSHOT, TOPIC_MISSING,
        COMPACTED_TOPIC, BAD_TOKEN, TOKEN_OF_ANOTHER; FatalError (UNREADABLE_RECORD), DamagedError.
        """
        return self._reading(self._place(from_), self._end(until))

    def _place(self, from_: str) -> ReadPosition:
        match from_:
            case "snapshot":
                cut = self.snapshot().cut
                first = FilesRead(cut.read_version, cut.commit_id)
                return ReadPosition(self.topic, cut.topic_id, cut.offsets, first)
            case "beginning" | "end":
                return ReadPosition(self.topic, self._log.topic_id(), self._start(from_))
            case _:
                found = ReadPosition.from_text(from_)
        if found.topic != self.topic:
            raise ReadRefusedError(
                f"This token is of {found.topic}, not of {self.topic}; open that one, or begin"
                f" again.",
                code="TOKEN_OF_ANOTHER",
            )
        return found

    def _start(self, start: Start) -> Offsets:
        match start:
            case "beginning":
                return self._log.beginning()
            case "end":
                return self._log.end()
            case _:
                return self._offsets(start)

    def _end(self, end: End) -> Offsets | None:
        if end is None:
            return None
        return self._log.end() if end == "now" else self._offsets(end)

    def _offsets(self, at: SnapshotCut | datetime) -> Offsets:
        if isinstance(at, datetime):
            return self._log.at_time(int(require_zone(at).timestamp() * 1_000))
        if at.topic != self.topic:
            raise ReadRefusedError(
                f"This cut is of {at.topic}, not of {self.topic}.", code="TOKEN_OF_ANOTHER"
            )
        self._log.require_held(at.topic_id, {})
        return at.offsets

    def _reading(self, start: ReadPosition, ends: Offsets | None) -> Reading:
        snapshot = None if start.snapshot is None else self._pinned(start.snapshot)
        self._log.require_held(start.topic_id, start.offsets)
        return Reading(start, self._steps(start, snapshot, ends))

    def _pinned(self, place: FilesRead) -> Snapshot:
        """The rows that a position is among, whatever was committed since."""
        table = self._sources.open_table()
        cut = chosen(cuts(table), place.commit_id, table.location)
        return self._snapshot(table, replace(cut, read_version=place.version))

    def _snapshot(self, table: Table, cut: SnapshotCut) -> Snapshot:
        registry = self._sources.registry
        return Snapshot(
            table,
            self.contract,
            cut,
            lambda schema_id: contract_of(registry.schema(schema_id), schema_id, self.topic),
        )

    def _steps(self, start: ReadPosition, snapshot: Snapshot | None, ends: Offsets | None) -> Steps:
        if snapshot is not None and start.snapshot is not None:
            place = start.snapshot
            for frame, files, rows in snapshot.frames(place.files, place.rows):
                place = replace(place, files=files, rows=rows)
                yield frame, replace(start, snapshot=place)
        starts = self._log.require_held(start.topic_id, start.offsets)
        yield None, (behind := replace(start, offsets=starts, snapshot=None))
        yield from self._of_log(behind, ends)

    def _of_log(self, start: ReadPosition, ends: Offsets | None) -> Steps:
        if ends is None:
            with closing(self._sources.open_follower()) as follower:
                for frame, offsets in self._log.follow(start.topic_id, start.offsets, follower):
                    yield frame, replace(start, offsets=offsets)
            return
        with closing(self._sources.open_range_reader()) as reader:
            for frame, offsets in self._log.until(start.topic_id, start.offsets, ends, reader):
                yield frame, replace(start, offsets=offsets)
