"""Runs the steps of a plan on frames. Never touches Kafka, keeps state in stores it is given."""

from headwater.contract import ROW
from headwater.flow.join import HeldTable
from headwater.flow.locality import MAX_ROWS, check_row_local
from headwater.flow.plan import NO_TABLES, Ground, Plan, Tables
from headwater.flow.stage import Columns, Processed, instance
from headwater.flow.stateful import NO_BATCH, Batch, KeyedRows, NoRows, StatefulStage
from headwater.flow.table_rows import DELETED, TableRows
from headwater.flow.topology import Section, nullable_of, repartition_of, sections_of
from headwater.flow.values import from_values, loosen

__all__ = [
    "DELETED",
    "MAX_ROWS",
    "NO_BATCH",
    "NO_TABLES",
    "ROW",
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
    "check_row_local",
    "from_values",
    "instance",
    "loosen",
    "nullable_of",
    "repartition_of",
    "sections_of",
]
