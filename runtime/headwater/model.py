"""Frozen words shared by every room. Imports nothing of Headwater."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

Headers = Sequence[tuple[str, bytes | None]]

UNREADABLE_HEADERS: Final[Headers] = (("headwater.unreadable-headers", None),)
"""What stands for the headers of a record one of whose names is not UTF-8: no client reads them."""

ELSEWHERE: Final[Headers] = (("headwater.elsewhere", None),)
"""What stands for the headers of a record whose bytes are not at hand: they stand in its log."""

OnIncompatible = Literal["pause", "dead-letter", "stop"]
"""What becomes of a record whose writer's schema the contract can never resolve."""

SchemaRef = int | UUID
"""How a record names its writer's schema: by the registry's id, or by its GUID (in a header)."""


_URL_SAFE: Final = str.maketrans("+/", "-_")


def shown_id(topic_id: str) -> str:
    """The id of a topic as Kafka's own tools show it: base64 without slashes, for URLs and paths.

    Clients and what is stored have it with them.
    """
    return topic_id.translate(_URL_SAFE)


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of one topic."""

    topic: str
    index: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.index}]"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A partition and its *next* offset: committing it is always right."""

    partition: Partition
    next_offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.next_offset}"


Positions = Mapping[Partition, int]
"""The next offset per partition; the plural of `Position`."""


class Code(StrEnum):
    """Why one record cannot be processed. Stable: consumers of dead letters match on these."""

    EMPTY_VALUE = "EMPTY_VALUE"
    BAD_MAGIC = "BAD_MAGIC"
    TRUNCATED_FRAME = "TRUNCATED_FRAME"
    UNKNOWN_SCHEMA_ID = "UNKNOWN_SCHEMA_ID"
    SCHEMA_SUBJECT_MISMATCH = "SCHEMA_SUBJECT_MISMATCH"
    INCOMPATIBLE_SCHEMA = "INCOMPATIBLE_SCHEMA"
    AVRO_LENGTH = "AVRO_LENGTH"
    AVRO_INDEX = "AVRO_INDEX"
    AVRO_BUDGET = "AVRO_BUDGET"
    AVRO_DEPTH = "AVRO_DEPTH"
    AVRO_VARINT = "AVRO_VARINT"
    AVRO_RANGE = "AVRO_RANGE"
    AVRO_UUID = "AVRO_UUID"
    TRAILING_BYTES = "TRAILING_BYTES"
    BAD_UTF8 = "BAD_UTF8"
    BAD_TEMPORAL = "BAD_TEMPORAL"
    DECIMAL_OVERFLOW = "DECIMAL_OVERFLOW"
    NON_FINITE = "NON_FINITE"
    BAD_KEY = "BAD_KEY"
    OVERSIZED_IN = "OVERSIZED_IN"
    TOO_MANY_HEADERS = "TOO_MANY_HEADERS"
    FUTURE_EVENT = "FUTURE_EVENT"
    NO_EVENT_TIME = "NO_EVENT_TIME"
    LATE = "LATE"
    NUMBER_TOO_LARGE = "NUMBER_TOO_LARGE"
    STEP_FAILED = "STEP_FAILED"
    STEP_TIMEOUT = "STEP_TIMEOUT"
    PROCESS_DIED = "PROCESS_DIED"
    CONTRACT_VIOLATION = "CONTRACT_VIOLATION"
    MSG_SIZE_TOO_LARGE = "MSG_SIZE_TOO_LARGE"
    PARKED = "PARKED"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """One input record that cannot be processed.

    `row` is its place in the batch; `message` says what is wrong and where in the schema,
    never the payload; `step` names the stage that refused it. `behind` is the offset of the record
    of its key that it waits for, in its partition, where that is all that is wrong (PARKED).
    """

    row: int
    code: Code
    message: str
    step: str = "decode"
    behind: int | None = None


class HaltCode(StrEnum):
    """Why a partition stands still: this release cannot read what follows there, or nobody can."""

    INCOMPATIBLE_SCHEMA = "INCOMPATIBLE_SCHEMA"
    CORRUPT_RECORD = "CORRUPT_RECORD"


@dataclass(frozen=True, slots=True)
class Halt:
    """A partition that stands still at `offset`, and why; `message` never holds a payload."""

    partition: Partition
    offset: int
    code: HaltCode
    message: str

    @property
    def advice(self) -> str:
        """What to do about it."""
        skip = "skip it with `headwater dead-letters skip`"
        if self.code is HaltCode.CORRUPT_RECORD:
            return f"restore the partition from a sound replica, or {skip}"
        return (
            "run a release whose contract can read it, or start with --on-incompatible "
            f"dead-letter, or {skip}"
        )

    def __str__(self) -> str:
        where = f"{self.partition} is halted at offset {self.offset}"
        return f"{where} ({self.code}): {self.message}; {self.advice}"


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One Kafka record as it stands in the log. `timestamp_ms` is its publish time."""

    partition: Partition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Letter:
    """A record to publish that wants headers: a dead letter."""

    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class RuleViolation:
    """A rule of a topic's contract that some input records of one batch broke.

    `topic` is the contract's, an input or an output; `partition` and `offset` are those of the
    first of the input records; -1 both where no single record made the row.
    """

    topic: str
    rule: str
    severity: str
    records: int
    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class TableStanding:
    """How far a table is read.

    `keys` it holds, in so many `rows`: of a versioned table all there ever were. `left` are the
    offsets still to read, up to the end as of the start or of the assignment.
    """

    topic: str
    keys: int
    rows: int
    left: int


@dataclass(frozen=True, slots=True)
class RestoreStanding:
    """How far the state of a step of an output is restored, all tasks held here together.

    So many entries were `loaded` from checkpoints and `read` from the changelog; `left` are the
    offsets still to read at most. `seconds` since it began; `is_done`: nothing is left to do.
    """

    output: str
    step: str
    loaded: int
    read: int
    left: int
    seconds: float
    is_done: bool


@dataclass(frozen=True, slots=True)
class StoreStanding:
    """What is held of the state of a step of an output, all tasks held here together.

    `keys` is the local store's estimate; bytes on disk, and of what is cached in memory.
    """

    output: str
    step: str
    keys: int
    disk_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class CheckpointStanding:
    """A checkpoint of a task that was written, or given up: then `failure` says why.

    `seconds` since its first slice.
    """

    output: str
    step: str
    task: int
    seconds: float
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class SnapshotStanding:
    """A snapshot table as it is after its last commit, and when it was last cut (epoch, ms).

    `cut_at_ms` is of the last look at the log, also of one that found nothing new; `seconds` is
    how long the last cut took that committed something, None before one did.
    """

    topic: str
    rows: int
    files: int
    bytes: int
    cut_at_ms: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record of a table that was refused, and why; `message` never holds a payload."""

    partition: Partition
    offset: int
    code: Code
    message: str
