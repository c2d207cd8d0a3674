"""The loop and the transaction: from records to exactly-once outputs. Never imports an adapter."""

from headwater.engine.commit_policy import CommitPolicy
from headwater.engine.dead_letters import DeadLetterTail, LetterWriter, StoredLetter
from headwater.engine.guard import Sandbox
from headwater.engine.halting import OnIncompatible
from headwater.engine.limit import BadRecordLimit, BadRecordWindow
from headwater.engine.loop import Loop
from headwater.engine.outside import LoopSettings, Outside
from headwater.engine.parking import Parked, ParkedKey, ParkingTask, parked_rows
from headwater.engine.restoring import Restoring
from headwater.engine.start import Start, StartPolicy, StartPositions
from headwater.engine.stores import StepStore, Stores, changelog_of
from headwater.engine.table_task import TableTask
from headwater.engine.tables import BroadcastTables
from headwater.engine.task import InputPolicy, Route, Task
from headwater.engine.transaction import Transaction, publish
from headwater.engine.watermarks import END_OF_TIME, EventTimes, Standing, Watermarks
from headwater.engine.work import Publication, Work

__all__ = [
    "END_OF_TIME",
    "BadRecordLimit",
    "BadRecordWindow",
    "BroadcastTables",
    "CommitPolicy",
    "DeadLetterTail",
    "EventTimes",
    "InputPolicy",
    "LetterWriter",
    "Loop",
    "LoopSettings",
    "OnIncompatible",
    "Outside",
    "Parked",
    "ParkedKey",
    "ParkingTask",
    "Publication",
    "Restoring",
    "Route",
    "Sandbox",
    "Standing",
    "Start",
    "StartPolicy",
    "StartPositions",
    "StepStore",
    "StoredLetter",
    "Stores",
    "TableTask",
    "Task",
    "Transaction",
    "Watermarks",
    "Work",
    "changelog_of",
    "parked_rows",
    "publish",
]
