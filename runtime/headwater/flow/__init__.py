"""Runs the steps of a plan on frames. Never touches Kafka, never keeps state between batches."""

from headwater.flow.locality import check_row_local
from headwater.flow.plan import Plan
from headwater.flow.stage import ROW, Columns, Processed, instance
from headwater.flow.values import from_values, loosen

__all__ = [
    "ROW",
    "Columns",
    "Plan",
    "Processed",
    "check_row_local",
    "from_values",
    "instance",
    "loosen",
]
