"""Checkpoints and tables in an object store. The one door to obstore."""

from headwater.adapters.objects.storage import ObjectStorage

__all__ = ["ObjectStorage"]
