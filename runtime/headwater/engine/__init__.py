"""The loop and the transaction: from records to exactly-once outputs. Never imports an adapter."""

from headwater.engine.commit_policy import CommitPolicy
from headwater.engine.dead_letters import DeadLetterTail, LetterWriter
from headwater.engine.limit import BadRecordLimit, BadRecordWindow
from headwater.engine.loop import Loop, LoopSettings, Outside
from headwater.engine.start import Start, StartPolicy, StartPositions
from headwater.engine.task import Publication, Route, Task, Work
from headwater.engine.transaction import Transaction

__all__ = [
    "BadRecordLimit",
    "BadRecordWindow",
    "CommitPolicy",
    "DeadLetterTail",
    "LetterWriter",
    "Loop",
    "LoopSettings",
    "Outside",
    "Publication",
    "Route",
    "Start",
    "StartPolicy",
    "StartPositions",
    "Task",
    "Transaction",
    "Work",
]
