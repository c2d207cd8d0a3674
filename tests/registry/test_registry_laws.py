"""What every registry promises: the real one and the one in memory."""

import json
import uuid
from collections.abc import Iterator, Mapping
from uuid import UUID

import pytest

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.adapters.registry import SchemaRegistry
from headwater.errors import RegistrationRefusedError, UnknownSchemaError
from headwater.ports import Registry


def record(*fields: Mapping[str, object], **attributes: object) -> str:
    """A record schema with these fields."""
    return json.dumps({"type": "record", "name": "Reading", "fields": list(fields), **attributes})


ID = {"name": "id", "type": "string", "doc": "Which one."}
OPTIONAL = {"name": "note", "type": ["null", "string"], "doc": "A note.", "default": None}
REQUIRED = {"name": "note", "type": "string", "doc": "A note."}
RETYPED = {"name": "id", "type": "int", "doc": "Which one."}


@pytest.fixture(params=["memory", pytest.param("confluent", marks=pytest.mark.kafka)])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """Each registry that obeys the laws."""
    if request.param == "memory":
        yield MemoryRegistry()
        return
    real = SchemaRegistry({"url": request.getfixturevalue("stack").registry})
    yield real
    real.close()


@pytest.fixture
def subject() -> str:
    """A subject nobody used before."""
    return f"laws.{uuid.uuid4().hex}-value"


def test_a_registered_schema_is_found_by_its_id(registry: Registry, subject: str) -> None:
    """What is registered can be read back by the id in the record's frame."""
    registered = registry.register(subject, record(ID), compatibility="FULL_TRANSITIVE")
    assert json.loads(registry.schema(registered.schema_id)) == json.loads(record(ID))
    assert (registered.subject, registered.version) == (subject, 1)


def test_custom_attributes_survive_registration(registry: Registry, subject: str) -> None:
    """Key, units and event time travel with the schema."""
    schema = record({**ID, "unit": "min"}, key="id", owner="someone@airport.example")
    registered = registry.register(subject, schema, compatibility="FULL_TRANSITIVE")
    assert json.loads(registry.schema(registered.schema_id)) == json.loads(schema)


def test_registering_an_equal_schema_again_changes_nothing(
    registry: Registry, subject: str
) -> None:
    """Registration is idempotent: every start may repeat it."""
    first = registry.register(subject, record(ID), compatibility="FULL_TRANSITIVE")
    again = registry.register(subject, record(ID), compatibility="FULL_TRANSITIVE")
    assert (again.schema_id, again.version) == (first.schema_id, first.version)


def test_a_compatible_schema_becomes_the_next_version(registry: Registry, subject: str) -> None:
    """An optional field may be added."""
    registry.register(subject, record(ID), compatibility="FULL_TRANSITIVE")
    second = registry.register(subject, record(ID, OPTIONAL), compatibility="FULL_TRANSITIVE")
    latest = registry.latest(subject)
    assert second.version == 2
    assert latest is not None
    assert (latest.schema_id, latest.version) == (second.schema_id, 2)


@pytest.mark.parametrize("fields", [(ID, REQUIRED), (RETYPED,), ()], ids=["add", "type", "drop"])
def test_an_incompatible_schema_is_refused_with_reasons(
    registry: Registry, subject: str, fields: tuple[Mapping[str, object], ...]
) -> None:
    """The mode set with the first version guards the second; the message says what is wrong."""
    registry.register(subject, record(ID), compatibility="FULL_TRANSITIVE")
    with pytest.raises(RegistrationRefusedError, match=rf"{subject}.*(id|note|fields)") as refusal:
        registry.register(
            subject, record(*fields, {**OPTIONAL, "name": "x"}), compatibility="FULL_TRANSITIVE"
        )
    assert refusal.value.exit_code == 78
    latest = registry.latest(subject)
    assert latest is not None
    assert latest.version == 1


def test_compatibility_none_takes_anything(registry: Registry, subject: str) -> None:
    """A contract may opt out."""
    registry.register(subject, record(ID), compatibility="NONE")
    assert registry.register(subject, record(RETYPED), compatibility="NONE").version == 2


def test_lookup_knows_exactly_the_registered_schema(registry: Registry, subject: str) -> None:
    """An equal schema is found, any other is not."""
    registered = registry.register(subject, record(ID), compatibility="FULL_TRANSITIVE")
    found = registry.lookup(subject, record(ID))
    assert found is not None
    assert (found.schema_id, found.version) == (registered.schema_id, registered.version)
    assert registry.lookup(subject, record(ID, OPTIONAL)) is None


def test_an_unknown_subject_has_no_schemas(registry: Registry, subject: str) -> None:
    """Absence is an answer, not an error."""
    assert registry.latest(subject) is None
    assert registry.lookup(subject, record(ID)) is None


def test_an_unknown_id_is_a_definite_no(registry: Registry) -> None:
    """Only this error sends a record to the dead letters."""
    with pytest.raises(UnknownSchemaError, match="1234567"):
        registry.schema(1_234_567)


def test_a_schema_that_differs_in_its_words_alone_is_another_one(
    registry: Registry, subject: str
) -> None:
    """A changed doc, unit or key is a new version: what was published is never edited."""
    registry.register(subject, record({**ID, "unit": "min"}), compatibility="FULL_TRANSITIVE")
    changed = record({**ID, "unit": "s"})
    assert registry.lookup(subject, changed) is None
    assert registry.register(subject, changed, compatibility="FULL_TRANSITIVE").version == 2


def test_the_versions_of_a_subject_come_oldest_first(registry: Registry, subject: str) -> None:
    """Whoever compares files with what is published sees all of it."""
    texts = [record(ID), record(ID, OPTIONAL)]
    for text in texts:
        registry.register(subject, text, compatibility="FULL_TRANSITIVE")
    found = registry.versions(subject)
    assert [each.version for each in found] == [1, 2]
    assert [json.loads(each.schema) for each in found] == [json.loads(text) for text in texts]
    assert {each.subject for each in found} == {subject}
    assert registry.versions(f"{subject}-of-nobody") == type(found)()


def test_an_id_knows_its_subjects_of_now(registry: Registry, subject: str) -> None:
    """A schema may be registered under another subject later; ids are shared."""
    name = f"R{uuid.uuid4().hex}"  # an id nobody else shares
    text = json.dumps({"type": "record", "name": name, "fields": [ID]})
    schema_id = registry.register(subject, text, compatibility="NONE").schema_id
    assert registry.subjects(schema_id) == {subject}
    assert registry.register(name, text, compatibility="NONE").schema_id == schema_id
    assert registry.subjects(schema_id) == {subject, name}
    assert registry.subjects(1_234_567) == frozenset()


def test_a_subject_has_the_mode_it_was_registered_with(registry: Registry, subject: str) -> None:
    """Another has the registry's own."""
    registry.register(subject, record(ID), compatibility="BACKWARD")
    assert registry.compatibility(subject) == "BACKWARD"
    assert registry.compatibility(f"{subject}-of-nobody") == "NONE"


def test_an_unknown_guid_is_a_definite_no(registry: Registry) -> None:
    """So it is where the registry knows no GUIDs at all: a header must not stop a product."""
    with pytest.raises(UnknownSchemaError, match="00000000-0000-0000-0000-000000000007"):
        registry.schema(UUID(int=7))
