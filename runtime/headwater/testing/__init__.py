"""What an author needs to test a product: a driver with no broker, the embedded stack as a fixture."""
