"""What every test may use."""

pytest_plugins = ["headwater.testing.stack"]
