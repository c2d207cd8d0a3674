"""The audited skip of a record that halts a partition: its position moves on, and a record says so.

Only for a product that is stopped, and only from exactly where its group stands.
"""

import json
import time
from typing import Final

from headwater.assembly.audit import TOPIC, Action, Actor, AuditLog, Mark, Place
from headwater.assembly.letters.ledger import AGAIN
from headwater.clock import SYSTEM
from headwater.engine.attempts import ATTEMPTS
from headwater.errors import AbortableError, StartRefusedError, UnavailableError
from headwater.model import Partition
from headwater.ports import CommitOutcome, RecordSource, Topics, TransactionalLog

EMPTY_GROUP_S: Final = 20.0  # a stopped static member is in the group for session.timeout.ms, 12 s
LOOK_S: Final = 0.5  # between questions whether the group is empty by now


class Skipper:
    """Moves a stopped product past records. `source` is of its group, and never joins it."""

    def __init__(
        self,
        source: RecordSource,
        log: TransactionalLog,
        audit: AuditLog,
        actor: Actor,
        topics: Topics,
    ) -> None:
        self._source = source
        self._log = log
        self._audit = audit
        self._actor = actor
        self._topics = topics

    def skip(self, place: Place, end: int, reason: str) -> None:
        """Commit `end` in place of the position `place`, with a record of the audit log.

        Raises StartRefusedError: NOT_THERE when the group stands elsewhere, GROUP_ACTIVE while the
        product runs; UnavailableError when the broker does not answer.
        """
        self._log.initialise()
        note = self._note(place, end)
        topic_id = self._topics.topic_id(place[0].topic)
        mark = Mark(Action.SKIPPED, *place, reason=reason, next_offset=end, topic_id=topic_id)
        deadline = SYSTEM.monotonic() + EMPTY_GROUP_S
        while not self._is_committed(place[0], end, note, mark):
            if SYSTEM.monotonic() > deadline:
                raise StartRefusedError(
                    f"{self._actor.product} is running; stop it, then skip: a running product"
                    " would go back to where it stands",
                    code="GROUP_ACTIVE",
                )
            time.sleep(LOOK_S)

    def _note(self, place: Place, end: int) -> str:
        """What stands beside the position, kept but for the attempts at what is skipped."""
        partition, offset = place
        standing = self._source.committed([partition]).get(partition)
        last = self._topics.high_watermarks(partition.topic).get(partition, 0)
        if standing != offset or not offset < end <= last:
            raise StartRefusedError(
                f"{self._actor.product} stands at {partition}@{standing}, and the log ends at"
                f" {last}: only what follows exactly there can be skipped, not [{offset}, {end})",
                code="NOT_THERE",
            )
        note = self._source.metadata([partition]).get(partition, "")
        if not note.startswith("{"):
            return note
        kept = {name: value for name, value in json.loads(note).items() if name != ATTEMPTS}
        return json.dumps(kept, sort_keys=True, separators=(",", ":"))

    def _is_committed(self, partition: Partition, end: int, note: str, mark: Mark) -> bool:
        """False when the group has members: the broker refuses positions from outside then."""
        keys, values = self._audit.encode([mark], self._actor)
        self._log.begin()
        self._log.produce(TOPIC, keys, values)
        try:
            self._log.send_offsets({partition: end}, {partition: note}, self._source.group_token())
        except AbortableError:
            self._log.abort()
            return False
        if self._log.commit() is CommitOutcome.UNKNOWN:
            raise UnavailableError(f"the commit was not answered; {AGAIN}")
        return True
