"""Which schemas records of a topic may have, by every way of naming subjects."""

import json
from uuid import UUID

import pytest

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.topic_schemas import TopicSchemas
from headwater.errors import UnavailableError, UnknownSchemaError
from headwater.model import SchemaRef
from headwater.product import Origin, Stream, Subjects

TEXT = json.dumps({"type": "record", "name": "a.Gate", "fields": []})
SUBJECTS: dict[Subjects, str] = {
    "topic": "ops.gates-value",
    "record": "a.Gate",
    "topic-record": "ops.gates-a.Gate",
}


class CountingRegistry(MemoryRegistry):
    """Counts how often it is asked for subjects."""

    asked = 0

    def subjects(self, schema_id: int) -> frozenset[str]:
        """The subjects of an id."""
        self.asked += 1
        return super().subjects(schema_id)


def stream(subjects: Subjects) -> Stream:
    """An input whose writers name their subjects so."""
    return Stream("ops.gates", 1, "earliest", Origin("product.py", 1), subjects=subjects)


@pytest.mark.parametrize("subjects", SUBJECTS)
@pytest.mark.parametrize("by", ["id", "guid"])
def test_a_schema_stands_under_a_subject_of_the_topic(subjects: Subjects, by: str) -> None:
    """Whatever its id; the registry is asked once for each that is admitted."""
    for strategy, subject in SUBJECTS.items():
        registry = CountingRegistry()
        found = registry.register(subject, TEXT, compatibility="NONE")
        reference: SchemaRef | None = found.schema_id if by == "id" else found.guid
        assert reference is not None
        schemas = TopicSchemas(registry, stream(subjects))
        if strategy == subjects:
            assert [schemas.schema(reference) for _ in range(3)] == [TEXT] * 3
            assert registry.asked <= 1
            continue
        with pytest.raises(UnknownSchemaError, match=r"ops\.gates") as refusal:
            schemas.schema(reference)
        assert refusal.value.code == "SCHEMA_SUBJECT_MISMATCH"


def test_a_schema_may_be_registered_late() -> None:
    """A refusal is not remembered here: whoever asks again gets the answer of then."""
    registry = MemoryRegistry()
    schema_id = registry.register("other", TEXT, compatibility="NONE").schema_id
    schemas = TopicSchemas(registry, stream("topic"))
    with pytest.raises(UnknownSchemaError):
        schemas.schema(schema_id)
    registry.register(SUBJECTS["topic"], TEXT, compatibility="NONE")
    assert schemas.schema(schema_id) == TEXT


def test_no_schema_at_all_is_unknown() -> None:
    """A mismatch is only told of what is there."""
    for reference in (7, UUID(int=7)):
        with pytest.raises(UnknownSchemaError) as refusal:
            TopicSchemas(MemoryRegistry(), stream("topic")).schema(reference)
        assert refusal.value.code == "UNKNOWN_SCHEMA_ID"


def test_a_schema_without_a_name_has_a_subject_of_its_topic_alone() -> None:
    """Such is no record; what reads it will say so."""
    registry = MemoryRegistry()
    schema_id = registry.register("ops.gates-value", '"string"', compatibility="NONE").schema_id
    assert TopicSchemas(registry, stream("topic")).schema(schema_id) == '"string"'
    with pytest.raises(UnknownSchemaError):
        TopicSchemas(registry, stream("record")).schema(schema_id)


def test_an_outage_is_no_mismatch() -> None:
    """Whether it is registered there cannot be told now."""

    class Away(MemoryRegistry):
        def subjects(self, schema_id: int) -> frozenset[str]:
            raise UnavailableError("away")

    registry = Away()
    schema_id = registry.register("ops.gates-value", TEXT, compatibility="NONE").schema_id
    with pytest.raises(UnavailableError):
        TopicSchemas(registry, stream("topic")).schema(schema_id)
