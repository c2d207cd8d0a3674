"""Headwater: a runtime for domain data products on event streams."""

from headwater.product import DataProduct, Flow, Snapshot, Stream

__all__ = ["DataProduct", "Flow", "Snapshot", "Stream"]
