"""What we need from outside, as protocols. Holds no behaviour.

Every port has at least two adapters (the real one and memory), and one law suite that both obey.
"""

from headwater.ports.followed import TopicFollower
from headwater.ports.log import (
    CommitOutcome,
    GroupToken,
    LogReader,
    RebalanceListener,
    Records,
    RecordSource,
    Topics,
    TopicSettings,
    TransactionalLog,
)
from headwater.ports.monitor import Ending, Monitor
from headwater.ports.registry import RegisteredSchema, Registry
from headwater.ports.state import CheckpointStorage, LocalStore, LocalStores, Mark, StoreSize
from headwater.ports.table import (
    SNAPSHOT_FORMAT,
    Change,
    CommitRecord,
    CutRange,
    NewFile,
    Table,
    TableFile,
    UnreadableRecord,
)

__all__ = [
    "SNAPSHOT_FORMAT",
    "Change",
    "CheckpointStorage",
    "CommitOutcome",
    "CommitRecord",
    "CutRange",
    "Ending",
    "GroupToken",
    "LocalStore",
    "LocalStores",
    "LogReader",
    "Mark",
    "Monitor",
    "NewFile",
    "RebalanceListener",
    "RecordSource",
    "Records",
    "RegisteredSchema",
    "Registry",
    "StoreSize",
    "Table",
    "TableFile",
    "TopicFollower",
    "TopicSettings",
    "Topics",
    "TransactionalLog",
    "UnreadableRecord",
]
