"""Headwater: a runtime for domain data products on event streams."""
