"""The metric catalogue, logs and health. Never sees a payload."""
