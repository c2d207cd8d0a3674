"""The schema registry through its Confluent API, with every call bounded."""

from headwater.adapters.registry.client import SchemaRegistry

__all__ = ["SchemaRegistry"]
