"""Headwater: a runtime for domain data products on event streams.

All an author of a product needs is here; the rooms below are ours.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.product import DataProduct, Flow, Snapshot

__all__ = ["DataProduct", "Flow", "Snapshot"]


def __getattr__(name: str) -> object:
    """A public name, imported when first used: the command line must start at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("headwater.product"), name)
