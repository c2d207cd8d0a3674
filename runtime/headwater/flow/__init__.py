"""Runs the steps of a plan on frames. Never touches Kafka, never keeps state between batches."""

from headwater.flow.plan import Plan
from headwater.flow.stage import ROW, Columns, Processed

__all__ = ["ROW", "Columns", "Plan", "Processed"]
