"""One Kafka transaction after another: outputs, dead letters and input positions commit together.

The only owner of the producer. Commit, abort, revoke and recycle are separate methods on purpose:
each has its own reason to change (design: the cautionary twin).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.clock import Clock
from headwater.engine.failpoints import reach
from headwater.engine.work import Publication, Work
from headwater.errors import (
    AbortableError,
    FatalError,
    FencedError,
    HeadwaterError,
    RebuildError,
    RecycleError,
    UnavailableError,
)
from headwater.model import Letter, Partition, Positions
from headwater.ports import CommitOutcome, Ending, GroupToken, RecordSource, TransactionalLog

MAX_FAILURES: Final = 10  # in a row without a commit: then the cause is not passing by


@dataclass(frozen=True, slots=True)
class Terms:
    """`note` gives the metadata of a partition's next offset.

    The broker aborts after `timeout_s` by itself.
    """

    note: Callable[[Partition, int], str]
    timeout_s: float


class Transaction:
    """Stages work and ends it exactly once. Not thread-safe: the loop owns it."""

    def __init__(
        self,
        log: TransactionalLog,
        source: RecordSource,
        clock: Clock,
        *,
        terms: Terms,
        on_end: Callable[[Ending, float], None],
    ) -> None:
        self._log = log
        self._source = source
        self._clock = clock
        self._terms = terms
        self._on_end = on_end
        self._committed: dict[Partition, int] = {}  # of the partitions held, as far as we know
        self._failures = 0
        self._damaged: set[int | None] = set()  # tasks whose damage was no failure yet
        self._doomed: str | None = None
        self._clear()
        self.last_commit_s = clock.monotonic()

    def _clear(self) -> None:
        self._token: GroupToken | None = None
        self._begun = False
        self._opened_s = self._clock.monotonic()
        self._pending: dict[Partition, int] = {}
        self.records = 0
        self.size = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is staged."""
        return not self._pending and not self._begun

    def committed(self) -> Positions:
        """The committed positions of the partitions held."""
        return self._committed

    # -- the way of the data -------------------------------------------------------------------

    def stage(self, work: Work, group: GroupToken) -> None:
        """Publish outputs, changes of state and letters into the transaction, opened when needed.

        `group` is the membership that the records were polled under: captured before a long batch,
        so that an eviction meanwhile is not taken for "no fencing".
        """
        self.refuse_if_lost()
        self._open(group)
        for publication in work.publications:
            if publication.values:
                self._begin()
                publish(self._log, publication)
        for changelog, changes in work.changes.items():
            self._begin()
            self._log.produce_to(changelog, changes.partitions, changes.keys, changes.values)
        if work.letters:
            self._begin()
            self._log.produce_letters(work.dead_letters, work.letters)
        self._pending.update(work.ends)
        self.records += work.read
        self.size += work.size

    def refuse_if_lost(self) -> None:
        """Raises AbortableError when what is staged went with its partitions: nothing may join."""
        if self._doomed is not None:
            raise AbortableError(self._doomed)

    def stage_positions(self, positions: Positions, group: GroupToken) -> None:
        """Positions without outputs, for `commit` to take along; those staged already stay."""
        self._open(group)
        self._pending = {**positions, **self._pending}

    def reached(self, partitions: Iterable[Partition]) -> Positions:
        """The positions of partitions held, as they will be committed next."""
        return {p: self._pending.get(p, self._committed[p]) for p in partitions}

    def commit_positions(self, positions: Positions, group: GroupToken) -> None:
        """Commit what is staged, and these positions with it, without outputs."""
        self.stage_positions(positions, group)
        self.commit()

    def commit(self) -> None:
        """Commit what is staged; on return it is committed.

        Raises whatever asks for `recover`, AbortableError among it: then nothing was committed, and
        records at hand must not be staged, because the inputs go back behind them.
        """
        self.refuse_if_lost()
        if self.is_empty or self._token is None:
            return
        self._begin()
        self.last_commit_s = self._clock.monotonic()  # its begin: a slow one waits less
        reach("after_produce")
        pending = self._pending
        notes = {partition: self._terms.note(partition, at) for partition, at in pending.items()}
        self._log.send_offsets(pending, notes, self._token)
        reach("after_send_offsets")
        reach("during_commit")
        try:
            outcome = self._log.commit()
        except RecycleError:
            outcome = CommitOutcome.UNKNOWN
        if outcome is CommitOutcome.UNKNOWN:
            if not self._resolve():
                raise AbortableError("the last transaction was not committed, and was not answered")
            return
        reach("after_commit")
        self._ended("committed")
        if self._log.is_doubtful():
            self._log.recycle()

    # -- the ways out --------------------------------------------------------------------------

    def abort(self) -> None:
        """Abort what is open and rewind to the last commit."""
        if self._begun:
            self._log.abort()
            doubtful = self._log.is_doubtful()
            self._ended("aborted")
            if doubtful:
                self._log.recycle()
        else:
            self._clear()
        self._rewind()

    def recycle(self) -> None:
        """Replace the client and go back to what is committed, the last transaction or not."""
        self._resolve()
        self._rewind()

    def _resolve(self) -> bool:
        """Replace the client, and learn whether the last transaction was committed.

        Initialising completes or aborts what the old client left, and the committed positions, read
        stably, tell which (KIP-98, KIP-447).
        """
        self._log.recycle()
        held = self._source.assignment()
        pending = {p: end for p, end in self._pending.items() if p in held}
        mine = {p: end for p, end in pending.items() if end != self._committed.get(p)}
        found = self._source.committed(list(mine)) if mine else {}
        # a position beyond ours is not ours either: another member did our work, and more
        is_committed = bool(mine) and all(found.get(p) == end for p, end in mine.items())
        if pending and not mine:  # positions that did not move tell nothing, the notes beside do
            notes = self._source.metadata(list(pending))
            is_committed = all(notes.get(p) == self._terms.note(p, at) for p, at in pending.items())
        self._ended("committed" if is_committed else "recycled")
        # then the group's word is the last one
        self._committed.update({p: end for p, end in found.items() if p in self._committed})
        return is_committed

    def failed(self, error: HeadwaterError) -> None:
        """Count a failure. Raises FatalError, or UnavailableError, when the cause does not pass.

        An outage counts when it took a transaction with it: one long outage is one failure. Damage
        counts when it was found in the same task before: a disk may damage all of them.
        """
        if isinstance(error, RebuildError) and error.task not in self._damaged:
            self._damaged.add(error.task)
            return
        is_away = isinstance(error, UnavailableError)
        self._failures += not (is_away and self.is_empty)
        if self._failures > MAX_FAILURES:
            text = f"{self._failures} transactions in a row failed, the last one: {error}"
            raise (UnavailableError(text) if is_away else FatalError(text)) from error

    def recover(self, error: HeadwaterError) -> None:
        """One try to get out of a failed transaction, by what the error asks for.

        On return the inputs stand at what is committed. Raises FencedError when another process has
        our ids, RetriableError while the broker is away: try again with the same error.
        """
        if isinstance(error, FencedError):
            self._recycle_own_timeout(error)
            return
        if isinstance(error, (AbortableError, RebuildError)):
            try:
                self.abort()
            except RecycleError:
                self.recycle()
            except FencedError as fenced:
                self._recycle_own_timeout(fenced)
            return
        self.recycle()

    def _recycle_own_timeout(self, error: FencedError) -> None:
        """The broker fences a transaction that outlived its timeout just as it fences a zombie.

        Only the former may go on, and only after the group says that our member id is still ours.
        """
        age_s = self._clock.monotonic() - self._opened_s
        if not self._begun or age_s < self._terms.timeout_s:
            raise error
        self._source.check_membership()
        self.recycle()

    # -- the assignment ------------------------------------------------------------------------

    def assigned(self, positions: Positions) -> None:
        """These partitions are held now, committed up to `positions`."""
        self._committed.update(positions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """End the open transaction while the partitions are still ours; never carry it across."""
        try:
            self.commit()
        except FencedError:
            raise
        except HeadwaterError as error:
            if not self.is_empty:
                self._doomed = f"partitions were revoked in a transaction that failed: {error}"
        self._let_go(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """The partitions are gone: whatever holds their positions must not be committed."""
        if not self.is_empty:
            self._doomed = "partitions were lost in an open transaction"
        self._let_go(partitions)

    def _let_go(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self._committed.pop(partition, None)

    # -- steps ---------------------------------------------------------------------------------

    def _open(self, group: GroupToken) -> None:
        if self._token is None:
            self._token = group  # and never another: one transaction, one membership
            self._opened_s = self._clock.monotonic()

    def _begin(self) -> None:
        if not self._begun:
            self._log.begin()
            self._begun = True

    def _ended(self, ending: Ending) -> None:
        now = self._clock.monotonic()
        if ending == "committed":
            self._committed.update({p: n for p, n in self._pending.items() if p in self._committed})
            self._failures = 0
            self._damaged.clear()
        self._on_end(ending, now - self._opened_s)
        self._doomed = None
        self._clear()

    def _rewind(self) -> None:
        self._doomed = None
        held = {p: self._committed[p] for p in self._source.assignment() if p in self._committed}
        self._source.seek(held)


def publish(log: TransactionalLog, publication: Publication) -> None:
    """Publish columns into the open transaction, with their headers where they have some."""
    topic, keys, values = publication.topic, publication.keys, publication.values
    if publication.headers:
        headers = publication.headers
        letters = [Letter(key, value, headers) for key, value in zip(keys, values, strict=True)]
        log.produce_letters(topic, letters)
    else:
        log.produce(topic, keys, values)
