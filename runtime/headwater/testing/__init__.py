"""What an author needs to test a product: a driver with no broker, a real stack as a fixture."""
