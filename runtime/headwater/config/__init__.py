"""Settings from the environment and headwater.toml, checked whole before anything starts."""
