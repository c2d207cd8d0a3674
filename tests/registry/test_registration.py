"""Publishing contracts: subjects, composite keys, what is missing."""

import json
from pathlib import Path

import pytest

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.registration import SchemaIds, lookup_ids, register
from headwater.contract import Contract, key_schema, parse_contract
from headwater.errors import DeclarationError, RegistrationRefusedError

FIELDS = [
    {"name": "origin", "type": "string", "doc": "From."},
    {"name": "flight", "type": "int", "doc": "Number."},
    {"name": "note", "type": ["null", "string"], "doc": "Note.", "default": None},
]


def contract(key: str | list[str], *, fields: int = 3, version: int = 1) -> Contract:
    """A contract of the first `fields` fields."""
    schema = {"type": "record", "name": "Leg", "key": key, "fields": FIELDS[:fields]}
    path = Path(f"schemas/trial/legs/v{version}.avsc")
    return parse_contract(json.dumps(schema), topic="trial.legs", version=version, path=path)


def test_a_key_of_one_field_has_no_schema() -> None:
    """Kafka's own serializers write it; only the value's schema is published."""
    done = register(contract("origin"), MemoryRegistry())
    assert [(each.subject, each.version) for each in done] == [("trial.legs-value", 1)]


def test_a_composite_key_is_published_beside_the_value() -> None:
    """Its schema holds the key's fields in the key's order."""
    registry = MemoryRegistry()
    done = register(contract(["flight", "origin"]), registry)
    assert [each.subject for each in done] == ["trial.legs-key", "trial.legs-value"]
    fields = json.loads(registry.schema(done[0].schema_id))["fields"]
    assert fields == [{"name": "flight", "type": "int"}, {"name": "origin", "type": "string"}]


def test_publishing_again_changes_nothing_and_says_so() -> None:
    """Registration may be repeated at every start."""
    registry = MemoryRegistry()
    first, again = (register(contract("origin"), registry)[0] for _ in range(2))
    assert (first.is_new, again.is_new) == (True, False)
    assert again.schema_id == first.schema_id


def test_a_composite_key_is_frozen() -> None:
    """Another key sends records to other partitions: their order would be lost."""
    registry = MemoryRegistry()
    register(contract(["flight", "origin"]), registry)
    with pytest.raises(RegistrationRefusedError, match=r"trial\.legs-key") as refusal:
        register(contract(["origin", "flight"], version=2), registry)
    assert (refusal.value.code, refusal.value.exit_code) == ("KEY_FROZEN", 78)


def test_a_refusal_leaves_the_newest_version_as_it_was() -> None:
    """An incompatible contract never reaches the consumers."""
    registry = MemoryRegistry()
    register(contract("origin", fields=2), registry)
    with pytest.raises(RegistrationRefusedError, match="flight"):
        register(contract("origin", fields=1, version=2), registry)
    latest = registry.latest("trial.legs-value")
    assert latest is not None
    assert latest.version == 1


def test_ids_are_found_by_topic() -> None:
    """The ids of values and of composite keys, as the encoder wants them."""
    registry = MemoryRegistry()
    composite = contract(["flight", "origin"])
    key, value = register(composite, registry)
    assert lookup_ids([composite], registry) == {
        "trial.legs": SchemaIds(value.schema_id, key.schema_id)
    }


def test_what_is_not_published_is_told_with_its_file() -> None:
    """Outside dev a missing schema stops the start and names the command."""
    with pytest.raises(DeclarationError, match="headwater register") as error:
        lookup_ids([contract("origin")], MemoryRegistry())
    assert error.value.problems[0].code == "NOT_REGISTERED"
    assert error.value.problems[0].file == "schemas/trial/legs/v1.avsc"


def test_a_keyless_contract_has_no_key_schema() -> None:
    """No key, no subject for keys."""
    assert key_schema(contract([])) is None
