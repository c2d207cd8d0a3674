"""The registry's names for the schemas of a topic."""

from typing import TYPE_CHECKING

from headwater.ports import Registry

if TYPE_CHECKING:
    from headwater.contract import Contract  # loads Polars, which a name does not need


def value_subject(topic: str) -> str:
    """The subject of a topic's values."""
    return f"{topic}-value"


def key_subject(topic: str) -> str:
    """The subject of a topic's keys; only composite keys have a schema."""
    return f"{topic}-key"


def key_schema_id(contract: "Contract", registry: Registry) -> int | None:
    """The id of the schema of a topic's composite keys; None where keys are plain, or unknown."""
    found = registry.latest(key_subject(contract.topic)) if len(contract.key) > 1 else None
    return None if found is None else found.schema_id
