"""Headwater: a runtime for domain data products on event streams.

All an author of a product needs is here; the rooms below are ours.
"""

from headwater.product import DataProduct, Flow, Snapshot

__all__ = ["DataProduct", "Flow", "Snapshot"]
