"""Runs the steps of a plan on frames. Never touches Kafka, keeps state in stores it is given."""

from headwater.contract import ROW
from headwater.flow.join import HeldTable
from headwater.flow.locality import check_row_local
from headwater.flow.plan import NO_TABLES, Ground, Plan, Tables
from headwater.flow.stage import MAX_ROWS, Columns, Processed, instance
from headwater.flow.stateful import (
    NO_BATCH,
    Batch,
    KeyedRows,
    NoRows,
    StatefulStage,
    event_times,
)
from headwater.flow.table_rows import DELETED, FOUND, TASK, TableRows
from headwater.flow.topology import (
    Section,
    nullable_of,
    repartition_of,
    sections_of,
    with_shared_topics,
)
from headwater.flow.values import from_values, loosen
from headwater.flow.versioned_rows import TIME, VersionedRows

__all__ = [
    "DELETED",
    "FOUND",
    "MAX_ROWS",
    "NO_BATCH",
    "NO_TABLES",
    "ROW",
    "TASK",
    "TIME",
    "Batch",
    "Columns",
    "Ground",
    "HeldTable",
    "KeyedRows",
    "NoRows",
    "Plan",
    "Processed",
    "Section",
    "StatefulStage",
    "TableRows",
    "Tables",
    "VersionedRows",
    "check_row_local",
    "event_times",
    "from_values",
    "instance",
    "loosen",
    "nullable_of",
    "repartition_of",
    "sections_of",
    "with_shared_topics",
]
