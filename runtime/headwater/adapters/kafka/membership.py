"""Whether a static member is still the one that the group knows."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from headwater.adapters.kafka.producer import KafkaTransactionalLog
from headwater.errors import AbortableError
from headwater.model import Partition
from headwater.ports import GroupToken

ANSWER_S: Final = 8.0  # like other calls: the group's session and the poll interval are longer


def ask_for(
    membership: GroupToken, held: Partition, config: Mapping[str, Any], *, member: str
) -> None:
    """Ask the group's coordinator whether `membership` was replaced by another of its member id.

    The consumer itself cannot ask: it drops its member id with its session, and a broker that was
    away for as long still knows the id, and takes whoever comes without it for another. Only
    positions in a transaction carry a membership of our choice, so some are sent in one that is
    aborted: they change nothing. (An admin call about groups may end the process: librdkafka#5040.)

    Raises FencedError when it was replaced, RetriableError while the broker is away. A member that
    the group forgot and nobody replaced may go on.
    """
    log = KafkaTransactionalLog(config, transactional_id=f"{member}.membership")
    with closing(log):
        log.initialise(ANSWER_S)
        log.begin()
        try:
            log.send_offsets({held: 0}, {held: ""}, membership)
        except AbortableError:
            return
