"""Runs the steps of a plan on frames. Never touches Kafka, never keeps state between batches."""

from headwater.contract import ROW
from headwater.flow.join import HeldTable
from headwater.flow.locality import MAX_ROWS, check_row_local
from headwater.flow.plan import NO_TABLES, Plan, Tables
from headwater.flow.stage import Columns, Processed, instance
from headwater.flow.table_rows import DELETED, TableRows
from headwater.flow.values import from_values, loosen

__all__ = [
    "DELETED",
    "MAX_ROWS",
    "NO_TABLES",
    "ROW",
    "Columns",
    "HeldTable",
    "Plan",
    "Processed",
    "TableRows",
    "Tables",
    "check_row_local",
    "from_values",
    "instance",
    "loosen",
]
