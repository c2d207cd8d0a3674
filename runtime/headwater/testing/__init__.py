"""What an author needs to test a product: a driver with no broker, a real stack as a fixture."""

from headwater.testing.driver import DeadLetter, Outcome, ProductDriver

__all__ = ["DeadLetter", "Outcome", "ProductDriver"]
