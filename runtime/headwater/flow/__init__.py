"""Runs the steps of a plan on frames. Never touches Kafka, never keeps state between batches."""

from headwater.contract import ROW
from headwater.flow.locality import MAX_ROWS, check_row_local
from headwater.flow.plan import Plan
from headwater.flow.stage import Columns, Processed, instance
from headwater.flow.values import from_values, loosen

__all__ = [
    "MAX_ROWS",
    "ROW",
    "Columns",
    "Plan",
    "Processed",
    "check_row_local",
    "from_values",
    "instance",
    "loosen",
]
