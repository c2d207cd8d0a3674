"""Mode "latest": a table of one row per key, that of the greatest offset below the cut.

A tombstone deletes a row. The records since the last cut are folded by key, and the buckets they
touch are written anew in one commit: a cut in the middle of a compacted log would be no cut of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from headwater.clock import SYSTEM, Clock
from headwater.model import Partition
from headwater.ports import (
    Change,
    CommitRecord,
    CutRange,
    LogReader,
    NewFile,
    Records,
    Table,
    Topics,
)
from headwater.snapshot.buckets import Counted, Rewriting, StoredBucket, bucket_count
from headwater.snapshot.cut import Cut, LatestCut, commit_id, latest_cut, require_same
from headwater.snapshot.division import require_few, runs
from headwater.snapshot.evolving import Evolving
from headwater.snapshot.fold import Fold, keyed
from headwater.snapshot.freezing import Freezing
from headwater.snapshot.multiset import to_text
from headwater.snapshot.rows import LogRows, RowCodec
from headwater.snapshot.scratch import scratch_directory
from headwater.snapshot.writer import OTHER_KEY, READ_RECORDS, Progress, Taken, unreadable

MODE: Final = "latest"
FOLD_BYTES: Final = 64 * 1024 * 1024  # of columns, over all partitions: what is more goes to disk


@dataclass(frozen=True, slots=True)
class LatestSnapshotter:
    """Keeps in `table` the newest row of each key of `topic`. Holds no position: the table does.

    Memory is bounded by a bucket and `FOLD_BYTES`; the system's directory for temporary files takes
    the newest record of each key since the last cut, and the buckets that changed.
    """

    product: str
    topic: str
    topics: Topics
    reader: LogReader
    table: Table
    codec: RowCodec
    clock: Clock = SYSTEM

    def take(self, progress: Progress = lambda _done, _total: None) -> Taken:
        """Commit everything published up to the read_committed end of now, in one commit.

        Under another schema than that of the last commit the whole table is written anew: rows
        that stay are what the contract reads them as, new columns with their defaults, and what
        fields held that it dropped is kept.
        Raises StartRefusedError (SNAPSHOT_COLUMNS, SNAPSHOT_DIVISION, else see `latest_cut`),
        OvertakenError when another process was first, FatalError (UNREADABLE_RECORD) for a record
        that is no row of the contract or whose key is not that of its columns, RetriableError when
        the storage or the broker refuses.
        """
        found = latest_cut(self.topics, self.table, self.topic, self.clock.wall_ms())
        evolving = Evolving.of(
            self.table, self.codec
        )  # behind the cut, which is refused if it aged
        version, rows = None, 0
        if found.cut.offsets:
            with scratch_directory("snapshot") as directory:
                folds = self._folds(found, directory, progress)
                rows = sum(fold.records for fold in folds.values())
                # a whole log without a record is that of a table whose every key was deleted
                if rows or (found.whole is not None and found.last is not None):
                    version = self._commit(found, folds, directory, evolving)
        return Taken(
            location=self.table.location,
            version=version,
            commits=0 if version is None else 1,
            rows=rows,
            rows_total=self.table.rows(),
            cut=self.table.offsets(found.cut.topic_id),
        )

    def _folds(
        self, found: LatestCut, scratch: Path, progress: Progress
    ) -> Mapping[Partition, Fold]:
        folds: dict[Partition, Fold] = {}
        for partition in found.read:
            directory = scratch / str(partition.index)
            directory.mkdir()
            folds[partition] = Fold(directory, FOLD_BYTES // len(found.read))
        left = dict(found.read)
        offsets = sum(end - start for start, end in left.values())
        for records in self.reader.read(found.read, max_records=READ_RECORDS):
            ((partition, reached),) = records.ends().items()
            folds[partition].add(keyed(self._readable(records), records, self.codec))
            left[partition] = (reached, left[partition][1])
            progress(offsets - sum(end - start for start, end in left.values()), offsets)
        progress(offsets, offsets)
        return folds

    def _readable(self, records: Records) -> LogRows:
        """The rows among the records; tombstones are none, and everything else must be one."""
        rows = self.codec.from_log(records)
        keys, values = records.keys(), records.values
        tombstones = {
            o for o, value in zip(records.offsets(), values, strict=True) if value is None
        }
        for offset, bad in rows.refused:
            if offset not in tombstones:
                raise unreadable(self.topic, rows, self.codec, (offset, bad))
        other = rows.under_another_key()
        if other is None and None in keys:  # a tombstone's
            other = records.offsets()[keys.index(None)]
        if other is not None:
            raise unreadable(self.topic, rows, self.codec, (other, OTHER_KEY))
        return rows

    def _commit(
        self,
        found: LatestCut,
        folds: Mapping[Partition, Fold],
        scratch: Path,
        evolving: Evolving,
    ) -> int | None:
        last = None if found.whole is not None else found.last
        files = [StoredBucket.of(each) for each in self.table.files()]
        counts = {each.partition: _counted(each) for each in (last.ranges if last else ())}
        rewriting = Rewriting(
            evolving=evolving,
            files=files if last else [],
            buckets=_buckets(counts, folds, last.buckets if last else 1),
            is_recounted=last is None or last.schema_id != self.codec.schema_id,
            scratch=scratch,
        )
        if rewriting.is_recounted:
            counts = {}
        written: list[NewFile] = []
        removed = set() if last else {each.name for each in files}
        for partition, fold in folds.items():
            counted = counts.setdefault(partition.index, Counted())
            for bucket in rewriting.touched(fold):
                removed |= rewriting.replaced(partition.index, bucket)
                rows = rewriting.written(partition.index, bucket, fold, counted)
                if rows is not None:
                    name = rewriting.name(partition.index, bucket, found.cut.ends[partition])
                    parts = runs(rows, evolving.divided_by, self.table.location)
                    written += [NewFile(name, part, value) for value, part in parts]
        if not written and found.last is None:
            return None  # deletions of what never was: there is nothing to make a table of
        require_few({each.value for each in written}, evolving.divided_by, self.table.location)
        require_same(self.topics, found.cut)
        record = replace(
            self._record(found.cut, counts, rewriting.buckets),
            stored_names=evolving.layout.stored_names,
        )
        change = Change(
            written,
            record,
            removed=sorted(removed),
            columns=evolving.news(),
            divided_by=evolving.divided_by,
        )
        freezing = Freezing(self.table, self.codec.contract, evolving.layout)
        version = self.table.commit(freezing.frozen(change))
        self.table.offsets(found.cut.topic_id)  # this handle has now seen its own commit
        return version

    def _record(self, found: Cut, counts: Mapping[int, Counted], buckets: int) -> CommitRecord:
        ranges = tuple(
            CutRange(p.index, start, end, counts[p.index].rows, to_text(counts[p.index].hash))
            for p, (start, end) in sorted(found.ranges.items())
        )
        return CommitRecord(
            commit_id=commit_id(self.product, found.topic_id, ranges),
            product=self.product,
            topic=self.topic,
            topic_id=found.topic_id,
            schema_id=self.codec.schema_id,
            ranges=ranges,
            committed_at_ms=self.clock.wall_ms(),
            mode=MODE,
            buckets=buckets,
        )


def _counted(taken: CutRange) -> Counted:
    return Counted(taken.rows, int(taken.hash, 16))


def _buckets(counts: Mapping[int, Counted], folds: Mapping[Partition, Fold], before: int) -> int:
    """How many buckets the largest partition asks for."""
    found = before
    for partition, fold in folds.items():
        if fold.records:
            stored = counts.get(partition.index, Counted()).rows
            # As if no key were stored already: too many buckets are smaller, too few are too large.
            found = bucket_count(stored + fold.records, fold.nbytes / fold.records, found)
    return found
