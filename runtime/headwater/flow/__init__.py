"""Runs the steps of a plan on frames. Never touches Kafka, keeps state in stores it is given."""

from headwater.contract import ROW
from headwater.flow.locality import MAX_ROWS, check_row_local
from headwater.flow.plan import Plan
from headwater.flow.stage import Columns, Processed, instance
from headwater.flow.stateful import NO_BATCH, Batch, KeyedRows, NoRows, StatefulStage
from headwater.flow.values import from_values, loosen

__all__ = [
    "MAX_ROWS",
    "NO_BATCH",
    "ROW",
    "Batch",
    "Columns",
    "KeyedRows",
    "NoRows",
    "Plan",
    "Processed",
    "StatefulStage",
    "check_row_local",
    "from_values",
    "instance",
    "loosen",
]
