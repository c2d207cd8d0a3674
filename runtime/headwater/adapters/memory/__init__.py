"""A broker in memory that obeys the same laws as Kafka. Never used by a running product."""

from headwater.adapters.memory.broker import MemoryBroker
from headwater.adapters.memory.faults import Faults, LostCommit, Partial
from headwater.adapters.memory.log import MemoryTransactionalLog
from headwater.adapters.memory.ranges import MemoryRangeReader
from headwater.adapters.memory.source import MemorySource
from headwater.adapters.memory.topics import MemoryTopics

__all__ = [
    "Faults",
    "LostCommit",
    "MemoryBroker",
    "MemoryRangeReader",
    "MemorySource",
    "MemoryTopics",
    "MemoryTransactionalLog",
    "Partial",
]
