"""Resolving dead letters: the one transactional id that may, and its transactions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from headwater.assembly.audit import TOPIC, Actor, AuditLog, Mark
from headwater.engine import Publication, StoredLetter, publish
from headwater.engine.failpoints import reach
from headwater.errors import (
    AbortableError,
    FencedError,
    RecycleError,
    RetriableError,
    UnavailableError,
)
from headwater.model import Letter, Positions
from headwater.ports import CommitOutcome, TransactionalLog
from headwater.state import Changes

NO_CHANGES: Final[Mapping[str, Changes]] = {}
AGAIN = "run the command again: what was committed is not done twice"


class Beside(Protocol):
    """What changes beside the letters of a product that stands still.

    Its parked keys (`ParkedKeys`), or the state of its steps (`KeptState`).
    """

    def stand_still(self, log: TransactionalLog) -> None:
        """Make sure that the product does not run."""
        ...

    def know(self, letters: Iterable[StoredLetter]) -> bool:
        """Learn what is open; whether keys are parked for nothing."""
        ...

    def stage(self, log: TransactionalLog, marks: Sequence[Mark]) -> None:
        """Put what these marks change, and the product's positions, into the open transaction."""
        ...


class Ledger:
    """Publishes what comes of dead letters together with the marks that resolve them.

    Whoever takes over fences all others, and reads the marks only then: two replays of one product
    cannot both publish. It never takes the id over a second time, because another may have it by
    then; whatever goes wrong ends the command, and the next one goes on.
    """

    def __init__(
        self,
        log: TransactionalLog,
        audit: AuditLog,
        actor: Actor,
        *,
        dead_letters: str,
        beside: Beside | None = None,
    ) -> None:
        self._log = log
        self._audit = audit
        self._actor = actor
        self._dead_letters = dead_letters
        self._beside = beside

    def take_over(self) -> None:
        """Fence who else resolves letters of this product; finish or abort what they left.

        Raises StartRefusedError when it has to stand still and does not.
        """
        with self._told():
            self._log.initialise()
            if self._beside is not None:
                self._beside.stand_still(self._log)

    def know(self, letters: Iterable[StoredLetter]) -> None:
        """These letters are open, and no others: keys that wait for none of them are freed."""
        if self._beside is not None and self._beside.know(letters):
            self.commit(())

    def commit(
        self,
        marks: Sequence[Mark],
        publications: Sequence[Publication] = (),
        letters: Sequence[Letter] = (),
        changes: Mapping[str, Changes] = NO_CHANGES,
    ) -> Positions:
        """Publish all of it in one transaction; on return it is committed.

        `changes` are those of stores and of event time, by topic. Returns the next offsets behind
        what was written of them.

        Raises FencedError when another command has taken over, UnavailableError for whatever asks
        to run the command again, and StartRefusedError when a product that has to stand still runs.
        """
        keys, values = self._audit.encode(marks, self._actor)
        with self._told():
            if self._log.is_doubtful():
                raise UnavailableError(f"the broker answered late or not at all; {AGAIN}")
            self._log.begin()
            for publication in publications:
                if publication.values:
                    publish(self._log, publication)
            for topic, each in changes.items():
                self._log.produce_to(topic, each.partitions, each.keys, each.values)
            if letters:
                self._log.produce_letters(self._dead_letters, letters)
            self._log.produce(TOPIC, keys, values)
            if self._beside is not None:
                self._beside.stage(self._log, marks)
            reach("after_produce")
            reach("during_commit")
            if self._log.commit() is CommitOutcome.UNKNOWN:
                raise UnavailableError(f"the last commit was not answered; {AGAIN}")
            reach("after_commit")
            return self._log.published()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FencedError as error:
            raise FencedError(
                f"another replay or discard of {self._dead_letters} has taken over; what this one"
                " committed stays, the other goes on"
            ) from error
        except UnavailableError:
            raise
        except (AbortableError, RecycleError, RetriableError) as error:
            raise UnavailableError(f"{error}; {AGAIN}") from error
