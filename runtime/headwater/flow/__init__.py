"""Runs the steps of a plan on frames. Never touches Kafka, never keeps state between batches."""
