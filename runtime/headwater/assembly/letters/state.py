"""What the steps of a product keep, and how far event time has come there, while letters come back.

As in the product's own loop: the tasks concerned are restored, the records of letters are batches
of theirs, and what these change goes along in the transaction that resolves them. The product
stands still meanwhile (`standing.py`).
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Final, Self

from headwater.assembly.audit import Mark
from headwater.assembly.letters.ledger import AGAIN
from headwater.assembly.letters.standing import Standstill
from headwater.engine import EventTimes, Restoring, StartPositions, StoredLetter, Stores
from headwater.engine.attempts import Attempts
from headwater.errors import RebuildError, StartRefusedError, UnavailableError
from headwater.model import Partition, Positions
from headwater.observe.health import Health
from headwater.observe.metrics import Metrics
from headwater.observe.monitor import ProcessMonitor
from headwater.ports import Monitor, TransactionalLog
from headwater.state import Changes


class LetterState:
    """That of a product whose steps keep nothing: every call is nothing.

    A batch of letters: `keep` what it changed, then `committed` or `aborted`; or `drop` it. One of
    which nothing is left has to be dropped: the next one of its input would do so, but `keep` takes
    what the batches of all inputs changed.
    """

    is_kept = False
    """Whether what comes of a record depends on those before it."""

    def open(self, letters: Iterable[StoredLetter]) -> None:
        """Bring the tasks up to date that the records of these letters belong to."""

    def drop(self) -> None:
        """The batch never was."""

    def keep(self) -> Mapping[str, Changes]:
        """The batch is part of the transaction; what it changed, by changelog."""
        return {}

    def committed(self, published: Positions) -> None:
        """The transaction is committed, and the changelogs were written up to these positions."""

    def aborted(self) -> None:
        """The transaction never was, nor the batch."""


NO_STATE: Final = LetterState()


class KeptState(LetterState):
    """That of a product with state; `partners` are the topics that an input is joined with."""

    is_kept = True

    def __init__(
        self,
        standstill: Standstill,
        restoring: Restoring,
        times: EventTimes,
        start: StartPositions,
        *,
        partners: Mapping[str, Sequence[str]],
    ) -> None:
        self._standstill = standstill
        self._restoring = restoring
        self._stores: Stores = restoring.stores
        self._times = times
        self._start = start
        # nobody asks for its metrics; what it tells is in the log
        self._monitor: Monitor = ProcessMonitor(Metrics(standstill.product), Health())
        self._partners = partners
        self._attempts = Attempts(reach=0)  # those that are noted stay so

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Lets go of the stores at its end.

        On RebuildError what is stored of the task is thrown away, and UnavailableError asks to run
        the command again.
        """
        try:
            with closing(self._restoring):
                yield self
        except RebuildError as error:
            self._throw_away(error.task)
            raise UnavailableError(f"{error} It was thrown away; {AGAIN}.") from error
        finally:
            self._stores.release(self._stores.partitions())
            if self._restoring.checkpoints is not None:
                self._restoring.checkpoints.close()

    def _throw_away(self, task: int | None) -> None:
        for each in self._stores.held:
            for mine in each.store.tasks:
                if task in {mine, None}:
                    each.store.reset(mine)

    # -- beside the letters, in their transactions ---------------------------------------------

    def stand_still(self, log: TransactionalLog) -> None:
        """As `Standstill.begin`."""
        self._standstill.begin(log, [each.changelog for each in self._stores.held])

    def know(self, letters: Iterable[StoredLetter]) -> bool:  # noqa: ARG002 - of the protocol
        """Nothing waits for letters."""
        return False

    def stage(self, log: TransactionalLog, marks: Sequence[Mark]) -> None:  # noqa: ARG002 - as above
        """Put the positions in, with how far event time has come; raises as `Standstill.hold`."""
        self._standstill.hold(log, self._note)

    def _note(self, partition: Partition, next_offset: int) -> str:
        attempts = self._attempts.note(partition, next_offset)
        return self._start.note({**attempts, **self._times.note(partition)})

    # -- batch by batch ------------------------------------------------------------------------

    def open(self, letters: Iterable[StoredLetter]) -> None:
        """As the product's own start does it: positions, notes and changelogs are checked first.

        Raises StartRefusedError (PARTITIONS_CHANGED) for a letter of a partition that is no more,
        and what `StartPositions.check` and `Restoring.advance` raise.
        """
        read = self._standstill.partitions()
        self._start.check(read, self._standstill.source, self._attempts, self._times)
        topics = {each.topic for each in read}
        wanted = {
            Partition(topic, each.source.index)
            for each in letters
            for topic in (each.source.topic, *self._partners.get(each.source.topic, ()))
            if topic in topics  # one that is read no more has letters that are refused
        }
        if gone := sorted(wanted.difference(read)):
            text = f"there is no {gone[0]} any more, and letters are of it; discard them"
            raise StartRefusedError(text, code="PARTITIONS_CHANGED")
        self._restoring.assigned(sorted(wanted))
        while not self._restoring.advance(self._monitor):
            time.sleep(self._restoring.wait_s)

    def drop(self) -> None:
        """Whichever input it was of."""
        self._times.drop()
        self._stores.drop()

    def keep(self) -> Mapping[str, Changes]:
        """As the loop does it."""
        self._times.keep()
        return self._stores.keep()

    def committed(self, published: Positions) -> None:
        """As the loop does it, the local stores included."""
        self._stores.committed(published)
        self._times.committed()
        self._stores.flush_when_due()

    def aborted(self) -> None:
        """As the loop does it."""
        self._stores.aborted()
        self._times.aborted()
