"""Runs a product with no broker: the same steps, codec and errors as the engine."""

from headwater.assembly.driver import DeadLetter, Outcome, ProductDriver

__all__ = ["DeadLetter", "Outcome", "ProductDriver"]
