"""The outside world, one door per library. Never imports the engine."""
