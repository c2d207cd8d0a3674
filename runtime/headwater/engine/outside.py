"""What the loop is given: how it works, and whom it talks to."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from headwater.clock import Clock
from headwater.engine.commit_policy import CommitPolicy
from headwater.engine.dead_letters import DeadLetterTail
from headwater.engine.guard import Sandbox
from headwater.engine.purging import Purging
from headwater.engine.restoring import Restoring
from headwater.engine.tables import FollowedTables
from headwater.model import OnIncompatible
from headwater.ports import Monitor, RecordSource, TransactionalLog


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How much a turn takes, when it commits, and how long the outside may be away."""

    policy: CommitPolicy
    poll_size: int = 10_000
    batch_bytes: int = 16 * 2**20
    step_timeout_s: float = 20.0  # what a step may take over one batch
    outage_limit_s: float = 300.0
    transaction_timeout_s: float = 10.0
    on_incompatible: OnIncompatible = "pause"


@dataclass(frozen=True, slots=True)
class Outside:
    """What the loop talks to. `tables` is None for a product that holds none.

    `co_partitioned`: topics whose partitions of one number are one task.
    """

    source: RecordSource
    log: TransactionalLog
    monitor: Monitor
    clock: Clock
    tail: DeadLetterTail
    sandbox: Sandbox
    restoring: Restoring
    purging: Purging
    tables: FollowedTables | None = None
    co_partitioned: Sequence[Collection[str]] = ()
