"""Keyed state of a step: layers above a local store, and checkpoints. Never touches Kafka."""
