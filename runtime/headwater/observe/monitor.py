"""Metrics and health behind one ear: what the loop says is heard by both."""

from collections.abc import Mapping, Sequence
from typing import Final

from headwater.clock import SYSTEM, Clock
from headwater.model import (
    CheckpointStanding,
    Code,
    Halt,
    Partition,
    Positions,
    Refusal,
    RestoreStanding,
    RuleViolation,
    StoreStanding,
    TableStanding,
)
from headwater.observe.health import Health
from headwater.observe.logs import get_logger
from headwater.observe.metrics import Metrics
from headwater.observe.rule_samples import RuleSamples

WARN_ABOVE: Final = 0.5  # of a limit: there is still time to look
CALM_BELOW: Final = 0.25  # well below, so that a count around the half is warned of once

REFUSALS_LOGGED: Final = 5  # per batch of a table: the metric has them all

log: Final = get_logger("loop")


class ProcessMonitor:
    """Hears the loop of one process. Quick, and raises nothing."""

    def __init__(self, metrics: Metrics, health: Health, *, clock: Clock = SYSTEM) -> None:
        self._metrics = metrics
        self._health = health
        self._told: set[Halt] = set()
        self._warned: set[str] = set()
        self._read: set[str] = set()
        self._restoring: set[tuple[str, str]] = set()
        self._waits_since_s: float | None = None
        self._clock = clock
        self._samples = RuleSamples(clock)

    def alive(self) -> None:
        """The loop has come round once more."""
        self._health.started()

    def assigned(self, partitions: int) -> None:  # noqa: ARG002  # a spare replica is assigned too
        """This many partitions are held after a rebalance."""
        self._health.assigned()
        self._metrics.rebalanced()

    def unassigned(self) -> None:
        """The partitions are gone until the group assigns anew."""
        self._health.unassigned()

    def processed(self, topic: str, seconds: float) -> None:
        """A batch of a topic was decoded, run and encoded."""
        self._metrics.batch(topic, seconds)

    def counted(
        self, *, read: Mapping[str, int], written: Mapping[str, int], codes: Mapping[Code, int]
    ) -> None:
        """What a committed transaction read and wrote per topic, and quarantined per code."""
        self._metrics.counts(read=read, written=written, codes=codes)

    def skipped(self, records: Mapping[str, int]) -> None:
        """Records of a committed transaction that were read and not wanted, per topic."""
        self._metrics.skipped(records)

    def late(self, rows: Mapping[str, int]) -> None:
        """Rows of a committed transaction that came late and were dropped, by `<output>.<step>`."""
        self._metrics.late(rows)

    def duplicates(self, rows: Mapping[str, int]) -> None:
        """Rows of a committed transaction that had come already, by `<output>.<step>`."""
        self._metrics.duplicates(rows)

    def unordered(self, rows: Mapping[str, int]) -> None:
        """Rows of a committed transaction with nothing to order them by, by `<output>.<step>`."""
        self._metrics.unordered(rows)

    def rules_broken(self, violations: Sequence[RuleViolation]) -> None:
        """What was broken of the rules: all of it is counted, of warnings a sample is logged."""
        for violation in violations:
            self._metrics.rule(
                violation.topic, violation.rule, violation.severity, violation.records
            )
            if violation.severity == "warn":
                self._samples.tell(violation)

    def limits_used(self, used: Mapping[str, float]) -> None:
        """How much of each limit on bad records is used up; above half is warned of once."""
        self._metrics.limits_used(used)
        for code, share in used.items():
            if share > WARN_ABOVE and code not in self._warned:
                log.warning("loop.bad_records_limit_near", code=code, used=round(share, 2))
                self._warned.add(code)
            elif share < CALM_BELOW:
                self._warned.discard(code)

    def ended(self, ending: str, seconds: float) -> None:
        """A transaction ended so, `seconds` after it was opened."""
        self._metrics.transaction(ending, seconds)

    def stands_at(self, positions: Positions, published_ms: Mapping[Partition, int]) -> None:
        """The positions after a turn, and the publish time of each partition's last record."""
        self._metrics.positions(dict(positions), dict(published_ms))

    def waiting(self, reason: str | None) -> None:
        """The loop waits for broker, registry or disk; None when it goes on. Logged when new."""
        self._health.waiting(reason)
        self._metrics.waiting(is_waiting=reason is not None)
        if reason is not None and self._waits_since_s is None:
            self._waits_since_s = self._clock.monotonic()
            log.warning("loop.waiting", reason=reason)
        elif reason is None and self._waits_since_s is not None:
            waited_s = self._clock.monotonic() - self._waits_since_s
            self._waits_since_s = None
            log.info("loop.waited", seconds=round(waited_s, 3))

    def restoring(self, standings: Sequence[RestoreStanding]) -> None:
        """All stores of the assignment; of each its begin and its end are logged."""
        self._health.restoring(standings)
        self._metrics.restoring(standings)
        for each in standings:
            store = (each.output, each.step)
            if not each.is_done and store not in self._restoring:
                self._restoring.add(store)
                log.info("loop.restoring", output=each.output, step=each.step)
            elif each.is_done and store in self._restoring:
                self._restoring.remove(store)
                log.info(
                    "loop.restored",
                    output=each.output,
                    step=each.step,
                    from_checkpoints=each.loaded,
                    from_changelog=each.read,
                    seconds=round(each.seconds, 3),
                )

    def checkpoint_passed_over(self, name: str, reason: str) -> None:
        """A checkpoint cannot be used; restoring takes longer."""
        log.warning("loop.checkpoint_passed_over", checkpoint=name, reason=reason)

    def checkpoint_taken(self, place: str) -> None:
        """A task is filled from this checkpoint; where it lies, and so how far it reaches."""
        log.info("loop.checkpoint_taken", checkpoint=place)

    def checkpointed(self, checkpoint: CheckpointStanding) -> None:
        """A checkpoint was written, or given up until the next one is due."""
        self._metrics.checkpointed(checkpoint)
        tell = log.warning if checkpoint.failure else log.info
        tell(
            "loop.checkpoint_failed" if checkpoint.failure else "loop.checkpoint_written",
            output=checkpoint.output,
            step=checkpoint.step,
            task=checkpoint.task,
            seconds=round(checkpoint.seconds, 3),
            **({"reason": checkpoint.failure} if checkpoint.failure else {}),
        )

    def stores(self, standings: Sequence[StoreStanding]) -> None:
        """What is held of each store."""
        self._metrics.stores(standings)

    def parked(self, topic: str, keys: int, letters: int) -> None:
        """So many keys of an input wait for a replay, with so many open letters."""
        self._metrics.parked(topic, keys, letters)

    def ends(self, ends: Positions) -> None:
        """The read_committed ends of partitions that stand still."""
        self._metrics.ends(ends)

    def halted(self, halts: Sequence[Halt]) -> None:
        """All partitions held that stand still now; each is logged once."""
        self._health.halted(halts)
        self._metrics.halted(halts)
        for halt in halts:
            if halt not in self._told:
                log.error(
                    "loop.partition_halted",
                    topic=halt.partition.topic,
                    partition=halt.partition.index,
                    offset=halt.offset,
                    code=halt.code,
                    reason=halt.message,
                    advice=halt.advice,
                )
        self._told.update(halts)

    def tables(self, standings: Sequence[TableStanding]) -> None:
        """All tables; each is logged once, when it is read whole."""
        self._metrics.tables(standings)
        self._health.tables(standings)
        for each in standings:
            if not each.left and each.topic not in self._read:
                self._read.add(each.topic)
                log.info("loop.table_read", topic=each.topic, keys=each.keys, rows=each.rows)

    def tables_refused(self, refusals: Sequence[Refusal]) -> None:
        """Refused records of tables: all of them are counted, the first ones logged."""
        for each in refusals:
            self._metrics.table_refused(each.partition.topic, each.code)
        for each in refusals[:REFUSALS_LOGGED]:
            log.warning(
                "loop.table_record_refused",
                topic=each.partition.topic,
                partition=each.partition.index,
                offset=each.offset,
                code=each.code,
                reason=each.message,
                of_batch=len(refusals),
            )
