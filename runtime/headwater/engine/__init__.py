"""The loop and the transaction: from records to exactly-once outputs. Never imports an adapter."""

from headwater.engine.checkpoints import Checkpoints
from headwater.engine.co_partitioning import require_equal_counts
from headwater.engine.commit_policy import CommitPolicy
from headwater.engine.dead_letters import DeadLetterTail, LetterWriter, StoredLetter
from headwater.engine.guard import Sandbox
from headwater.engine.joining import join_tasks
from headwater.engine.limit import BadRecordLimit, BadRecordWindow
from headwater.engine.loop import Loop
from headwater.engine.outside import LoopSettings, Outside
from headwater.engine.parking import ParkingTask, parked_rows
from headwater.engine.purging import Purging
from headwater.engine.repartition import Repartition
from headwater.engine.restoring import Restoring, StateSources
from headwater.engine.routes import Route
from headwater.engine.section_task import SectionTask
from headwater.engine.sources import MOST_SOURCES
from headwater.engine.start import Start, StartPolicy, StartPositions
from headwater.engine.stores import StepStore, Stores, changelog_of
from headwater.engine.table_task import TableTask
from headwater.engine.tables import FollowedTable, FollowedTables
from headwater.engine.task import InputPolicy, Task
from headwater.engine.transaction import Transaction, publish
from headwater.engine.watermarks import END_OF_TIME, EventTimes, Standing, Watermarks
from headwater.engine.work import Publication, Work

__all__ = [
    "END_OF_TIME",
    "MOST_SOURCES",
    "BadRecordLimit",
    "BadRecordWindow",
    "Checkpoints",
    "CommitPolicy",
    "DeadLetterTail",
    "EventTimes",
    "FollowedTable",
    "FollowedTables",
    "InputPolicy",
    "LetterWriter",
    "Loop",
    "LoopSettings",
    "Outside",
    "ParkingTask",
    "Publication",
    "Purging",
    "Repartition",
    "Restoring",
    "Route",
    "Sandbox",
    "SectionTask",
    "Standing",
    "Start",
    "StartPolicy",
    "StartPositions",
    "StateSources",
    "StepStore",
    "StoredLetter",
    "Stores",
    "TableTask",
    "Task",
    "Transaction",
    "Watermarks",
    "Work",
    "changelog_of",
    "join_tasks",
    "parked_rows",
    "publish",
    "require_equal_counts",
]
