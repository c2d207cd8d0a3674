"""Proves that a snapshot equals the log between its cuts, or names where it does not.

Three things must agree for every commit and partition: the log, read and decoded again; what the
commit recorded; and the rows of the table, encoded again. Only where they disagree are rows looked
at one by one. What cannot be read is a difference too: nobody else could read it either.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from headwater.clock import SYSTEM, Clock
from headwater.errors import DamagedError
from headwater.ports import LogReader, Table, TableFile, Topics, UnreadableRecord
from headwater.snapshot.codecs import Codecs
from headwater.snapshot.corrections import wrong_corrections
from headwater.snapshot.cut import is_own_id
from headwater.snapshot.fold_verifier import FoldCut, FoldVerifier
from headwater.snapshot.history import Kept, cut_at, every_cut, newest_cut
from headwater.snapshot.inventory import Held, Inventory
from headwater.snapshot.pipeline import beside
from headwater.snapshot.range_verifier import Log, RangeVerifier
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.spans import booked, booked_whole, gaps, other_record, stretches
from headwater.snapshot.verdict import Difference, Findings, Verdict
from headwater.snapshot.writer import Progress

SAMPLE: Final = 100  # of so many records one is read by the row codec too; 1 with `full`


def _silent(done: int, total: int) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """A cut, and what is found of it."""

    kept: Kept
    findings: Findings = field(default_factory=Findings)

    def verdict(self) -> Verdict:
        records = self.kept.records
        if records and records[-1].mode == "latest":
            rows = sum(taken.rows for taken in records[-1].ranges)
        else:
            rows = sum(taken.rows for record in records for taken in record.ranges)
        return self.findings.verdict(self.kept.newest, commits=len(self.kept.commits), rows=rows)


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies the snapshot of one topic. Writes nothing.

    `codecs` gives one more codec of the contract that the registry knows under a schema id, since
    table and log are read in two threads, and raises UnknownSchemaError or DeclarationError when
    there is no such contract.
    Every method tells `progress`, one thread at a time, how many rows of table and log were read,
    and how many there are, and raises UnavailableError when broker or registry do not answer,
    RetriableError when the storage does not, UnverifiableError when the table uses what we cannot
    read.
    """

    topic: str
    topics: Topics
    reader: LogReader
    open_table: Callable[[], Table]
    codecs: Callable[[int], RowCodec]
    full: bool = False
    clock: Clock = SYSTEM

    def verify(self, progress: Progress = _silent, *, at: str | None = None) -> Verdict:
        """Compare what the table holds with the log: its newest version, or as of a commit.

        `at` is what `commit_at` takes. A table whose newest commits were cut off is an older
        snapshot, and equal. Raises ConfigurationError (BAD_CUT), UnverifiableError: NO_CUT, and
        NO_SNAPSHOT with `at`.
        """
        (verdict,) = self._verdicts(
            lambda table: [newest_cut(table) if at is None else cut_at(table, at)], progress
        )
        return verdict

    def verify_all(self, progress: Progress = _silent) -> list[Verdict]:
        """Of every commit whose record can be read, oldest first; of the newest version without.

        Each file is read once, and so is the log.
        """
        return self._verdicts(lambda table: every_cut(table) or [newest_cut(table)], progress)

    def _verdicts(
        self, asked: Callable[[Table], Sequence[Kept]], progress: Progress
    ) -> list[Verdict]:
        try:
            table = self.open_table()
            proofs = [_Proof(kept) for kept in asked(table)]
        except DamagedError as error:
            findings = Findings()
            findings.differs(Difference("damaged", None, None, str(error)))
            return [findings.verdict(commits=0, rows=0)]
        for proof in proofs:
            _look_at_records(proof, table)
        kept = [proof for proof in proofs if not proof.kept.gone]
        if kept:
            records = kept[-1].kept.records
            codecs = Codecs(self.codecs, table, records)
            whole = _Whole(self, table, codecs, progress)
            if records and records[-1].mode == "latest":
                for schema_id in dict.fromkeys(p.kept.records[-1].schema_id for p in kept):
                    whole.compare_folds(
                        [p for p in kept if p.kept.records[-1].schema_id == schema_id]
                    )
            else:
                whole.compare_ranges(kept)
            if foreign := codecs.foreign():
                detail = f"the columns are those of no commit: {foreign}"
                kept[-1].findings.differs(Difference("recorded", None, None, detail))
        return [proof.verdict() for proof in proofs]


def _look_at_records(proof: _Proof, table: Table) -> None:
    """What the commits say, before any row is read."""
    kept, findings = proof.kept, proof.findings
    if not kept.commits:
        findings.undecided(f"there is no snapshot in {table.location}")
    for version, record in kept.commits:
        if isinstance(record, UnreadableRecord):
            detail = f"the record of version {version}: {record.reason}"
            findings.differs(Difference("damaged", None, None, detail))
        elif not is_own_id(record):
            detail = f"version {version} has another id than its product, ranges and days make"
            findings.differs(Difference("recorded", None, None, detail))
    for gap in gaps(kept.records):
        findings.differs(gap)
    if kept.gone:
        findings.not_kept(kept.gone)


class _Whole:
    """One verification, of one cut or of many."""

    def __init__(
        self, verifier: Verifier, table: Table, codecs: Codecs, progress: Progress
    ) -> None:
        self._verifier = verifier
        self._table = table
        self._codecs = codecs
        self._progress = progress
        self._newest = frozenset(file.name for file in table.files())

    def compare_ranges(self, proofs: Sequence[_Proof]) -> None:
        """Of mode "append": every range with its stretch of the log, which is read beside it."""
        verifier, codecs = self._verifier, self._codecs
        ranges = booked(proofs[-1].kept.records)
        inventory = Inventory(self._table, ranges, codecs.again())
        log = Log(verifier.topic, verifier.topics, verifier.reader, self._every)
        counted = self._counted(proofs, sum(each.taken.rows for each in ranges))
        with beside(map(counted, self._read(proofs, inventory))) as require_sound:

            def told(rows: int) -> None:
                require_sound()
                counted(rows)

            found = log.tallies(ranges, codecs, told)
        compared = RangeVerifier(log, ranges, found, inventory, codecs)
        for proof in proofs:
            until = sum(len(record.ranges) for record in proof.kept.records)
            held = inventory.held(proof.kept.files, until, self._newest, proof.findings)
            compared.compare(held, proof.findings)
            for difference in wrong_corrections(proof.kept.commits, held):
                proof.findings.differs(difference)

    def compare_folds(self, proofs: Sequence[_Proof]) -> None:
        """Of mode "latest", under one schema: the table with the log folded up to each cut."""
        records = proofs[-1].kept.records
        schema_id = records[-1].schema_id
        between = stretches(records, schema_id)
        inventory = Inventory(self._table, between, self._codecs)
        rows = sum(taken.rows for taken in records[-1].ranges)
        counted = self._counted(proofs, rows)
        for read in self._read(proofs, inventory):
            counted(read)
        cuts = []
        for proof in proofs:
            until = sum(len(record.ranges) for record in proof.kept.records)
            held = inventory.held(proof.kept.files, until, self._newest, proof.findings)
            by_partition: dict[int, Held] = {}
            for each, part in zip(between, held, strict=False):  # the first of them
                by_partition.setdefault(each.taken.partition, Held()).merge(part)
            self._codecs.tell(schema_id, proof.findings)
            cuts.append(FoldCut(proof.kept.records[-1], by_partition, proof.findings))
        codec = self._codecs.find(schema_id)
        if codec is None:  # which is told
            for cut in cuts:
                _compare_numbers(cut)
            return
        FoldVerifier(
            topics=self._verifier.topics,
            reader=self._verifier.reader,
            table=self._table,
            codec=codec,
            inventory=inventory,
            every=self._every,
            clock=self._verifier.clock,
        ).compare(cuts)
        counted(rows)

    @property
    def _every(self) -> int:
        return 1 if self._verifier.full else SAMPLE

    def _read(self, proofs: Sequence[_Proof], inventory: Inventory) -> Iterator[int]:
        """Read every file once; the rows of each part."""
        return inventory.read(_files(proofs).values())

    def _counted(self, proofs: Sequence[_Proof], others: int) -> Callable[[int], None]:
        """Counts what was read, of all files and so many other rows; any thread may call it."""
        told = sum(file.rows or 0 for file in _files(proofs).values()) + others
        done, counting = 0, Lock()

        def count(rows: int) -> None:
            nonlocal done
            with counting:
                done += rows
                self._progress(done, max(done, told))

        return count


def _files(proofs: Sequence[_Proof]) -> dict[str, TableFile]:
    """Every file of any of the cuts."""
    return {file.name: file for proof in proofs for file in proof.kept.files}


def _compare_numbers(cut: FoldCut) -> None:
    """Without a codec, rows are counted only."""
    for each in booked_whole(cut.record):
        held = cut.held.get(each.taken.partition, Held())
        if not held.is_damaged and held.tally.rows != each.taken.rows:
            cut.findings.differs(other_record(each, "the table"))
