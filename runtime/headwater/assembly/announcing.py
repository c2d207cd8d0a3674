"""Announces the commits of snapshot tables on `_headwater.snapshots`, behind the commits."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

from headwater.adapters.kafka.topics import check_topic
from headwater.assembly.registration import lookup_ids, register
from headwater.errors import (
    AbortableError,
    RecycleError,
    StartRefusedError,
    UnavailableError,
)
from headwater.ports import (
    CommitOutcome,
    CommitRecord,
    LogReader,
    Registry,
    Table,
    Topics,
    TopicSettings,
    TransactionalLog,
)
from headwater.snapshot.notices import (
    TOPIC,
    Announced,
    Place,
    encoded,
    last_notice,
    notice_contract,
)

NOTICES_AT_ONCE: Final = 10_000  # per transaction: far below what a producer's queue holds
# Readers look for the last notice of a product: the cleaner drops those before it. It leaves the
# segment that is written alone, so that one is begun often, and dropped from early.
KEPT_SHORT: Final = {"segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.1"}


class Announcer:
    """Writes the notices that a table's commits lack. Holds no position: the topic does.

    So a notice that could not be written is written by whoever comes next, and none is written
    twice but by two processes at once, which does no harm.
    """

    def __init__(
        self,
        topics: Topics,
        registry: Registry,
        reader: LogReader,
        open_log: Callable[[], TransactionalLog],
        *,
        is_creating: bool,
    ) -> None:
        self._topics = topics
        self._registry = registry
        self._reader = reader
        self._open_log = open_log
        self._is_creating = is_creating

    def announce(self, product: str, topic: str, table: Table, format_: str) -> int:
        """Announce the commits behind the last notice of this table; how many they were.

        Raises StartRefusedError (NOTICES_TOPIC) where the topic is not there and may not be
        created, RegistrationRefusedError, FencedError when another process announces at this
        moment, and UnavailableError; the commits stand whatever happens here.
        """
        self._prepare()
        place = Place(table.location, format_)
        last = last_notice(
            product, topic, topics=self._topics, registry=self._registry, reader=self._reader
        )
        due = _behind(table, last)
        if due:
            contract = notice_contract()
            register(contract, self._registry)
            ids = lookup_ids([contract], self._registry)[TOPIC]
            with closing(self._open_log()) as log:
                self._publish(log, [encoded(part, place, ids) for part in _parts(due)])
        return len(due)

    def _prepare(self) -> None:
        if self._is_creating:
            self._topics.create([TopicSettings(TOPIC, 1, "table", KEPT_SHORT)])
        partitions = self._topics.partitions(TOPIC) or 1
        # nothing but this has to be so: any number of partitions, and any other setting, will do
        needed = TopicSettings(TOPIC, partitions, "source", {"cleanup.policy": "compact"})
        wrong = check_topic(self._topics, needed)
        if wrong:
            raise StartRefusedError(
                f"{'; '.join(wrong)}; create it with one partition and cleanup.policy=compact, or"
                f" alter it so: readers find the snapshots of products there. What was committed"
                f" stands, and is announced by the next snapshot.",
                code="NOTICES_TOPIC",
            )

    @staticmethod
    def _publish(
        log: TransactionalLog, parts: Sequence[tuple[Sequence[bytes | None], Sequence[bytes]]]
    ) -> None:
        try:
            log.initialise()
            for keys, values in parts:
                log.begin()
                log.produce(TOPIC, keys, values)
                if log.commit() is CommitOutcome.UNKNOWN:
                    raise UnavailableError("the broker did not answer for the last notice")
        except (AbortableError, RecycleError) as error:
            raise UnavailableError(f"a notice was not written: {error}") from error


def _behind(table: Table, last: Announced | None) -> list[tuple[int, CommitRecord]]:
    """The commits that no notice tells of; all of a table that was never announced."""
    after = last.version if last is not None and _is_of(table, last) else 0
    return [(v, each) for v, each in table.commits(after) if isinstance(each, CommitRecord)]


def _is_of(table: Table, last: Announced) -> bool:
    """Whether a notice is of this table, and not of one that stood elsewhere or before it."""
    if last.location != table.location:
        return False
    version, record = next(iter(table.commits(last.version - 1)), (0, None))
    if isinstance(record, CommitRecord):
        # where a table was begun anew, a version has other ranges, or other ends of them
        found = (version, record.topic_id, record.commit_id)
        return found == (last.version, last.topic_id, last.commit_id)
    return version == last.version  # nobody knows what it took; the notice stands


def _parts(
    commits: Sequence[tuple[int, CommitRecord]],
) -> list[Sequence[tuple[int, CommitRecord]]]:
    return [commits[at : at + NOTICES_AT_ONCE] for at in range(0, len(commits), NOTICES_AT_ONCE)]
