"""A group member that reads below a cut the rows of a snapshot, and then the log.

Commits nothing and knows no plan: whoever reads the log reads this in its place.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from headwater.errors import HeadwaterError
from headwater.model import Partition, Position, Positions
from headwater.observe.logs import get_logger
from headwater.ports import GroupToken, RebalanceListener, Records, RecordSource
from headwater.reader.backfill import Backfill
from headwater.reader.table_records import RowsLeft, TableRecords

ENCODED_ROWS: Final = 20_000  # records that are made at once at most, as many as are read at once

log = get_logger("backfill")


class BackfillSource:
    """A group member whose partitions of one topic begin in its snapshot (`RecordSource`).

    A partition that stands below the cut is held there in the log, until its rows are read; then
    the log goes on. Positions are the log's all along, so what is committed, and where a rebalance
    or an abort goes on, is the same as of a member that only reads the log.
    """

    def __init__(self, source: RecordSource, backfill: Backfill) -> None:
        self._log = source
        self._backfill = backfill
        self._listener: RebalanceListener | None = None
        self._below: dict[Partition, RowsLeft] = {}  # those that stand below the cut
        self._halted: set[Partition] = set()  # of these
        self._ready: list[TableRecords] = []  # read, and not handed over yet
        self._arrived: Positions | None = None  # where an assignment begins in the log
        self._published_ms: dict[Partition, int] = {}
        self._is_paused = False
        self._is_log_busy = False

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        """Join the group; `listener` hears of every change of the assignment."""
        self._listener = listener
        self._log.subscribe(topics, self)

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Records]:
        """Records by topic, in log order per partition; empty when none came in time.

        Rows of the snapshot and the log's records of other partitions share a poll. Also raises
        what the table does: DamagedError, ReadRefusedError (SNAPSHOT_GONE), RetriableError.
        """
        share = max(1, max_records // 2) if self._is_log_busy else 1
        if not self._is_paused and self._arrived is None:
            self._prepare(max(1, max_records - share))
        is_waiting = self._is_paused or not self._ready
        found = self._log.poll(
            max_records if is_waiting else share, timeout_s if is_waiting else 0.0
        )
        if self._arrived is not None:
            self._hold(self._arrived, found)
            return ()
        self._is_log_busy = bool(found)
        is_full = found and sum(map(len, (*found, *self._ready))) > max_records
        if self._is_paused or is_full:
            return found
        return [*found, *self._handed_over()]

    def assignment(self) -> frozenset[Partition]:
        """The partitions this member holds."""
        return self._log.assignment()

    def committed(self, partitions: Sequence[Partition]) -> Positions:
        """Stable committed positions of the group; absent = none."""
        return self._log.committed(partitions)

    def metadata(self, partitions: Sequence[Partition]) -> Mapping[Partition, str]:
        """The note committed beside each position; absent = none."""
        return self._log.metadata(partitions)

    def commit_start(self, positions: Positions) -> None:
        """Commit start positions before joining."""
        self._log.commit_start(positions)

    def seek(self, positions: Positions) -> None:
        """Go to these positions, in the snapshot or in the log."""
        below = {p: at for p, at in positions.items() if at < self._cut(p)}
        self._log.seek({p: at for p, at in positions.items() if p not in below})
        self._log.halt({p: self._cut(p) for p in below if p not in self._below})
        self._drop(positions)
        self._below.update({p: self._rest(p, at) for p, at in below.items()})
        if self._arrived is not None:
            behind = {p: max(at, self._cut(p)) for p, at in positions.items()}
            self._arrived = {**self._arrived, **behind}

    def pause(self) -> None:
        """Stop fetching while polling keeps the membership."""
        self._log.pause()
        self._is_paused = True

    def resume(self) -> None:
        """Undo `pause`, but not `halt`."""
        self._log.resume()
        self._is_paused = False

    def halt(self, positions: Positions) -> None:
        """Stand still at these positions while the other partitions go on."""
        below = {p: at for p, at in positions.items() if at < self._cut(p)}
        self.seek(below)
        self._halted |= below.keys()
        others = {p: at for p, at in positions.items() if p not in below}
        self._drop(others)
        self._log.halt(others)

    def ends(self, partitions: Iterable[Partition]) -> Positions:
        """The read_committed ends of partitions held."""
        return self._log.ends(partitions)

    def corrupt(self) -> Positions:
        """Where the log's stored records are damaged."""
        return self._log.corrupt()

    def group_token(self) -> GroupToken:
        """The membership of this moment."""
        return self._log.group_token()

    def check_membership(self) -> None:
        """Raises FencedError when this member id is not ours any more."""
        self._log.check_membership()

    def caught_up(self) -> Positions:
        """Where the log's end was reached; no partition below the cut is."""
        return {p: end for p, end in self._log.caught_up().items() if p not in self._below}

    def publish_times_ms(self) -> Mapping[Partition, int]:
        """The publish time of the last record polled, per partition."""
        return {**self._published_ms, **self._log.publish_times_ms()}

    def close(self) -> None:
        """Leave, and let go of the table's files."""
        self._drop(list(self._below))
        self._log.close()

    # -- called inside the log's poll ------------------------------------------------------------

    def assigned(self, partitions: Sequence[Partition]) -> Positions:
        """Partitions are ours now; the log of those below the cut begins at the cut."""
        starts = self._told().assigned(partitions)
        self._drop(list(self._below))
        self._below = {p: self._rest(p, at) for p, at in starts.items() if at < self._cut(p)}
        self._published_ms = {}
        self._arrived = {p: max(at, self._cut(p)) for p, at in starts.items()}
        return self._arrived

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Partitions go after this call."""
        self._told().revoked(partitions)
        self._drop(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Partitions are gone already."""
        self._told().lost(partitions)
        self._drop(partitions)

    def _told(self) -> RebalanceListener:
        if self._listener is None:
            message = "an assignment before subscribe"
            raise ValueError(message)
        return self._listener

    # -- steps -----------------------------------------------------------------------------------

    def _cut(self, partition: Partition) -> int:
        """Where its snapshot ends; 0 where it has none."""
        return self._backfill.cut.get(partition, 0)

    def _rest(self, partition: Partition, at: int) -> RowsLeft:
        return RowsLeft(self._backfill, Position(partition, at))

    def _hold(self, starts: Positions, found: Sequence[Records]) -> None:
        """After an assignment: partitions below the cut stand still in the log.

        What came of the log with it came too early, and is read again.
        """
        early = {p for records in found for p in records.ends()} - self._below.keys()
        self._log.seek({p: starts[p] for p in early})
        self._log.halt({p: self._cut(p) for p in self._below})
        self._arrived = None

    def _prepare(self, most: int) -> None:
        """Have so many records ready at most; what fails is read again from where it stood."""
        try:
            self._switch()
            if not self._ready:
                self._ready = list(self._read(most))
        except HeadwaterError:
            self._reopen()
            raise

    def _reopen(self) -> None:
        """Rows that were read and not handed over are read again."""
        reached, halted = {p: rest.reached for p, rest in self._below.items()}, {*self._halted}
        self._drop(reached)
        self._below = {p: self._rest(p, at) for p, at in reached.items()}
        self._halted = halted

    def _switch(self) -> None:
        """Partitions of which no row is left go on in the log."""
        waiting = {each.partition for each in self._ready} | self._halted
        for partition in sorted(self._below.keys() - waiting):
            if self._below[partition].is_read():
                at = self._cut(partition)
                self._log.seek({partition: at})
                self._drop([partition])
                log.info("backfill.switched", partition=str(partition), offset=at)

    def _read(self, most: int) -> Iterator[TableRecords]:
        """So many records at most, of partitions in turn: none runs far ahead in event time."""
        for partition in [p for p in self._below if p not in self._halted]:
            if most <= 0:
                return
            records = self._below[partition].records(min(most, ENCODED_ROWS))
            self._below[partition] = self._below.pop(partition)  # the others come first now
            if records is not None:
                most -= len(records)
                yield records

    def _handed_over(self) -> Sequence[TableRecords]:
        """What is ready, which is read from here on."""
        ready, self._ready = self._ready, []
        for each in ready:
            self._below[each.partition].reached = each.end
            self._published_ms[each.partition] = each.last_published_ms()
        return ready

    def _drop(self, partitions: Iterable[Partition]) -> None:
        gone = set(partitions)
        self._ready = [each for each in self._ready if each.partition not in gone]
        self._halted -= gone
        for partition in gone & self._below.keys():
            self._below.pop(partition).close()
