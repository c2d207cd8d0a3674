"""A product that stands still while its letters change what it keeps.

Each transaction of theirs puts the positions of its group in as they are, which the broker takes
from outside an empty group only. A product that starts meanwhile waits for the transaction before
it learns where it stands, and reads its changelogs behind that.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from headwater.assembly.letters.ledger import AGAIN
from headwater.assembly.letters.skip import EMPTY_GROUP_S, LOOK_S
from headwater.clock import SYSTEM
from headwater.errors import AbortableError, StartRefusedError, UnavailableError
from headwater.model import Partition, Positions
from headwater.ports import CommitOutcome, RecordSource, Topics, TransactionalLog

UNDECIDED_S: Final = 60.0  # the broker ends what a killed process left open after 10 s

Notes = Mapping[Partition, str]
"""What stands beside positions."""


class Standstill:
    """The positions of a product on the topics it reads, held where they are.

    `read` are those topics, `source` is of the product's group and never joins it; `why` tells an
    operator what the product has to be stopped for.
    """

    def __init__(
        self, product: str, read: Sequence[str], source: RecordSource, topics: Topics, *, why: str
    ) -> None:
        self.product: Final = product
        self._read = read
        self.source: Final = source
        self._topics = topics
        self._why = why
        self._notes: Notes = {}
        self.positions: Positions = {}

    def partitions(self) -> list[Partition]:
        """All that the product reads."""
        return [p for topic in self._read for p in self._topics.beginnings(topic)]

    def begin(self, log: TransactionalLog, changelogs: Iterable[str]) -> None:
        """Wait until the product is surely stopped, and take down where it stands.

        Raises StartRefusedError: GROUP_ACTIVE while it runs, OFFSETS_LOST when it has no position;
        UnavailableError when the broker does not answer.
        """
        deadline_s = SYSTEM.monotonic() + EMPTY_GROUP_S
        while not self._is_still(log):
            if SYSTEM.monotonic() > deadline_s:
                raise self._active("is running")
            time.sleep(LOOK_S)
        self._await_decisions(changelogs)

    def hold(
        self, log: TransactionalLog, note: Callable[[Partition, int], str] | None = None
    ) -> None:
        """Put the positions into the open transaction, `note` beside each, or what stood there.

        Raises StartRefusedError (GROUP_ACTIVE) when the product was started meanwhile; then nothing
        of the transaction may be committed.
        """
        notes = self._notes
        if note is not None:
            notes = {partition: note(partition, at) for partition, at in self.positions.items()}
        try:
            self._hold(log, notes)
        except AbortableError as error:
            raise self._active("was started meanwhile") from error
        self._notes = notes

    # -- steps ---------------------------------------------------------------------------------

    def _is_still(self, log: TransactionalLog) -> bool:
        """False when the group has members: the broker refuses positions from outside then."""
        read = self.partitions()
        self.positions = self.source.committed(read)
        if not self.positions:
            text = (
                f"{self.product} has no committed position, and without one nothing tells whether"
                " it runs; start it, stop it, and run the command again"
            )
            raise StartRefusedError(text, code="OFFSETS_LOST")
        notes = self.source.metadata(read)
        self._notes = {partition: notes.get(partition, "") for partition in self.positions}
        log.begin()
        try:
            self._hold(log, self._notes)
        except AbortableError:
            log.abort()
            return False
        if log.commit() is CommitOutcome.UNKNOWN:
            raise UnavailableError(f"the commit was not answered; {AGAIN}")
        return True

    def _await_decisions(self, changelogs: Iterable[str]) -> None:
        """Committed letters behind a transaction that a killed process left open are not seen yet.

        It can no longer be committed, and ends by its timeout. Raises UnavailableError.
        """
        deadline_s = SYSTEM.monotonic() + UNDECIDED_S
        for topic in (f"{self.product}.dead-letters", *changelogs):
            ends = self._topics.high_watermarks(topic)
            while any(stable < ends[p] for p, stable in self._topics.ends(topic).items()):
                if SYSTEM.monotonic() > deadline_s:
                    raise UnavailableError(f"a transaction on {topic} stays open; {AGAIN}")
                time.sleep(LOOK_S)

    def _hold(self, log: TransactionalLog, notes: Notes) -> None:
        """Raises AbortableError when the product runs, or ran since its positions were read.

        Asked in this order: once the positions are in the transaction, none can be committed
        before it ends. A run that only moved event time shows in the notes alone.
        """
        log.send_offsets(self.positions, notes, self.source.group_token())
        found: dict[Partition, tuple[int, str]] = {}
        for topic in self._read:
            found.update(self._topics.group_standing(self.product, topic))
        if found != {p: (at, self._notes[p]) for p, at in self.positions.items()}:
            raise AbortableError(f"{self.product} went on")

    def _active(self, what: str) -> StartRefusedError:
        return StartRefusedError(
            f"{self.product} {what}; stop it, then run the command again: {self._why}",
            code="GROUP_ACTIVE",
        )
