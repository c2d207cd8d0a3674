"""A broker and stores in memory that obey the laws of the real ones.

Never used by a running product.
"""

from headwater.adapters.memory.broker import MemoryBroker
from headwater.adapters.memory.faults import Faults, LostCommit, Partial
from headwater.adapters.memory.follower import MemoryFollower
from headwater.adapters.memory.log import MemoryTransactionalLog
from headwater.adapters.memory.ranges import MemoryRangeReader
from headwater.adapters.memory.source import MemorySource
from headwater.adapters.memory.stores import MemoryStores
from headwater.adapters.memory.topics import MemoryTopics

__all__ = [
    "Faults",
    "LostCommit",
    "MemoryBroker",
    "MemoryFollower",
    "MemoryRangeReader",
    "MemorySource",
    "MemoryStores",
    "MemoryTopics",
    "MemoryTransactionalLog",
    "Partial",
]
