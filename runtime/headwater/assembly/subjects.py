"""The registry's names for the schemas of a topic."""

from headwater.contract import Contract
from headwater.ports import Registry


def value_subject(topic: str) -> str:
    """The subject of a topic's values."""
    return f"{topic}-value"


def key_subject(topic: str) -> str:
    """The subject of a topic's keys; only composite keys have a schema."""
    return f"{topic}-key"


def key_schema_id(contract: Contract, registry: Registry) -> int | None:
    """The id of the schema of a topic's composite keys; None where keys are plain, or unknown."""
    found = registry.latest(key_subject(contract.topic)) if len(contract.key) > 1 else None
    return None if found is None else found.schema_id
