"""The registry's names for the schemas of a topic."""


def value_subject(topic: str) -> str:
    """The subject of a topic's values."""
    return f"{topic}-value"


def key_subject(topic: str) -> str:
    """The subject of a topic's keys; only composite keys have a schema."""
    return f"{topic}-key"
