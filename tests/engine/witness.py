"""What an engine told its monitor, for tests to ask."""

from collections import Counter
from collections.abc import Mapping, Sequence

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
from headwater.ports import Ending


class Witness:
    """A monitor that remembers."""

    def __init__(self) -> None:
        self.endings: Counter[Ending] = Counter()
        self.read: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.codes: Counter[Code] = Counter()
        self.passed_over: Counter[str] = Counter()
        self.unplaced: Counter[str] = Counter()
        self.violations: list[RuleViolation] = []
        self.reasons: list[str | None] = []
        self.halts: Sequence[Halt] = ()
        self.restores: list[Sequence[RestoreStanding]] = []
        self.passed_over_checkpoints: list[tuple[str, str]] = []
        self.taken_checkpoints: list[str] = []
        self.checkpoints: list[CheckpointStanding] = []
        self.sizes: Sequence[StoreStanding] = ()
        self.standings: list[Sequence[TableStanding]] = []
        self.refusals: list[Refusal] = []
        self.known_ends: Positions = {}
        self.used: Mapping[str, float] = {}
        self.waiting_keys: dict[str, tuple[int, int]] = {}

    def alive(self) -> None: ...

    def assigned(self, partitions: int) -> None: ...

    def unassigned(self) -> None: ...

    def processed(self, topic: str, seconds: float) -> None: ...

    def counted(
        self, *, read: Mapping[str, int], written: Mapping[str, int], codes: Mapping[Code, int]
    ) -> None:
        self.read.update(read)
        self.written.update(written)
        self.codes.update(codes)

    def skipped(self, records: Mapping[str, int]) -> None:
        self.passed_over.update(records)

    def late(self, rows: Mapping[str, int]) -> None: ...

    def duplicates(self, rows: Mapping[str, int]) -> None: ...

    def unordered(self, rows: Mapping[str, int]) -> None:
        self.unplaced.update(rows)

    def rules_broken(self, violations: Sequence[RuleViolation]) -> None:
        self.violations.extend(violations)

    def limits_used(self, used: Mapping[str, float]) -> None:
        self.used = used

    def ended(self, ending: Ending, seconds: float) -> None:
        self.endings[ending] += 1

    def stands_at(self, positions: Positions, published_ms: Mapping[Partition, int]) -> None: ...

    def waiting(self, reason: str | None) -> None:
        self.reasons.append(reason)

    def restoring(self, standings: Sequence[RestoreStanding]) -> None:
        self.restores.append(standings)

    def checkpoint_passed_over(self, name: str, reason: str) -> None:
        self.passed_over_checkpoints.append((name, reason))

    def checkpoint_taken(self, place: str) -> None:
        self.taken_checkpoints.append(place)

    def checkpointed(self, checkpoint: CheckpointStanding) -> None:
        self.checkpoints.append(checkpoint)

    def stores(self, standings: Sequence[StoreStanding]) -> None:
        self.sizes = standings

    def parked(self, topic: str, keys: int, letters: int) -> None:
        self.waiting_keys[topic] = (keys, letters)

    def ends(self, ends: Positions) -> None:
        self.known_ends = ends

    def halted(self, halts: Sequence[Halt]) -> None:
        self.halts = halts

    def tables(self, standings: Sequence[TableStanding]) -> None:
        self.standings.append(standings)

    def tables_refused(self, refusals: Sequence[Refusal]) -> None:
        self.refusals.extend(refusals)
