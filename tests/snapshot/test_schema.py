"""The registered schema of a snapshot's rows."""

import json

from tests.snapshot.lake import FIELDS, contract

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.snapshot.division import DATE
from headwater.snapshot.schema import snapshot_schema


def test_the_schema_of_a_snapshot_names_its_log_and_the_version_of_the_contract() -> None:
    """Who finds it in the registry knows what it is a snapshot of; the rows keep their fields."""
    schema = json.loads(snapshot_schema(contract(FIELDS), log_subject="shop.orders-value"))
    assert schema["snapshotOf"] == {"subject": "shop.orders-value", "contractVersion": 1}
    names = [field["name"] for field in schema["fields"]]
    assert names == ["id", "amount", "_partition", "_offset", "_timestamp"]


def test_what_a_schema_is_a_snapshot_of_makes_it_no_other_schema() -> None:
    """A registry that knows the schema without those words takes the one with them."""
    registry, text = MemoryRegistry(), snapshot_schema(contract(FIELDS), log_subject="a-value")
    bare = {name: value for name, value in json.loads(text).items() if name != "snapshotOf"}
    for schema in (json.dumps(bare), text):
        registered = registry.register("a-snapshot", schema, compatibility="FULL_TRANSITIVE")
    assert registered.version == 2


def test_a_table_that_is_divided_by_day_may_follow_one_that_is_not() -> None:
    """A registry would refuse the column without a default, and so the new table of --to."""
    registry = MemoryRegistry()
    for divided_by in (None, DATE, None):
        schema = snapshot_schema(
            contract(FIELDS), log_subject="shop.orders-value", divided_by=divided_by
        )
        registry.register("a-snapshot", schema, compatibility="FULL_TRANSITIVE")
