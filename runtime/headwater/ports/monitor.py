"""Who watches the loop. Called on the loop's thread: must be quick and never raise."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

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

Ending = Literal["committed", "aborted", "recycled"]


class Monitor(Protocol):
    """Hears what the loop does; counts per batch, never per record."""

    def alive(self) -> None:
        """The loop has come round once more."""
        ...

    def assigned(self, partitions: int) -> None:
        """This many partitions are held after a rebalance."""
        ...

    def unassigned(self) -> None:
        """The partitions are gone until the group assigns anew."""
        ...

    def processed(self, topic: str, seconds: float) -> None:
        """A batch of a topic was decoded, run and encoded."""
        ...

    def counted(
        self, *, read: Mapping[str, int], written: Mapping[str, int], codes: Mapping[Code, int]
    ) -> None:
        """What a committed transaction read and wrote per topic, and quarantined per code."""
        ...

    def skipped(self, records: Mapping[str, int]) -> None:
        """Records of a committed transaction that were read and not wanted, per topic."""
        ...

    def late(self, rows: Mapping[str, int]) -> None:
        """Rows of a committed transaction that came late and were dropped, by `<output>.<step>`."""
        ...

    def duplicates(self, rows: Mapping[str, int]) -> None:
        """Rows of a committed transaction that had come already, by `<output>.<step>`."""
        ...

    def unordered(self, rows: Mapping[str, int]) -> None:
        """Rows of a committed transaction with nothing to order them by, by `<output>.<step>`."""
        ...

    def rules_broken(self, violations: Sequence[RuleViolation]) -> None:
        """What the records of a committed transaction broke of the contracts' rules."""
        ...

    def limits_used(self, used: Mapping[str, float]) -> None:
        """How much of each limit on bad records is used up, by code, and `total`: 1 trips it."""
        ...

    def ended(self, ending: Ending, seconds: float) -> None:
        """A transaction ended so, `seconds` after it was opened."""
        ...

    def stands_at(self, positions: Positions, published_ms: Mapping[Partition, int]) -> None:
        """The positions after a turn, and the publish time of the last record of each partition."""
        ...

    def waiting(self, reason: str | None) -> None:
        """The loop waits for the broker or the registry; None when it goes on."""
        ...

    def restoring(self, standings: Sequence[RestoreStanding]) -> None:
        """All stores of the assignment while they are restored, and once when each is done."""
        ...

    def checkpoint_passed_over(self, name: str, reason: str) -> None:
        """A checkpoint cannot be used; the one before it is looked at, or the changelog read."""
        ...

    def checkpoint_taken(self, place: str) -> None:
        """A task is filled from this checkpoint."""
        ...

    def checkpointed(self, checkpoint: CheckpointStanding) -> None:
        """A checkpoint was written, or given up until the next one is due."""
        ...

    def stores(self, standings: Sequence[StoreStanding]) -> None:
        """All stores, every few seconds."""
        ...

    def parked(self, topic: str, keys: int, letters: int) -> None:
        """So many keys of an input's partitions wait for a replay, with so many open letters."""
        ...

    def ends(self, ends: Positions) -> None:
        """The read_committed ends of partitions that stand still: nobody else asks for them."""
        ...

    def halted(self, halts: Sequence[Halt]) -> None:
        """All partitions held that stand still now; empty when every one goes on."""
        ...

    def tables(self, standings: Sequence[TableStanding]) -> None:
        """All tables: while they are read, and when they changed."""
        ...

    def tables_refused(self, refusals: Sequence[Refusal]) -> None:
        """Records of tables that were refused: the rows of their keys stayed as they were."""
        ...
