"""The evolution gate: who stops a change of a contract, and what they are told."""

import json
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.testing.conftest import Project

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.checking import Checked, check
from headwater.assembly.gate import Gate, fate_of, readable_products, require_sound_changes
from headwater.assembly.project import load_product
from headwater.assembly.registration import register
from headwater.contract import load_contract
from headwater.errors import DeclarationError, Problem

ORDERS: dict[str, Any] = {"id": "string", "n": "int", "note": ["null", "string"]}
MORE: dict[str, Any] = ORDERS | {"colour": ["null", "string"]}
WIDER: dict[str, Any] = ORDERS | {"n": "long"}
BACKWARD = "BACKWARD_TRANSITIVE"


def refusals(*targets: str, **more: Any) -> list[Problem]:
    """The problems of a check."""
    with pytest.raises(DeclarationError) as refused:
        check(targets, Path.cwd(), **more)
    return list(refused.value.problems)


def checked() -> Checked:
    """A check of everything that finds nothing wrong."""
    return check([], Path.cwd())


def test_a_compatible_version_passes_in_silence(project: Project) -> None:
    """A field with a default is news to nobody."""
    project.product(
        "shop.ids",
        """\
        orders = product.stream("shop.orders", contract=1)
        product.publish(orders.select("id"), contract=1)
        """,
    )
    project.contract("shop.ids", {"id": "string"})
    project.contract("shop.orders", MORE, version=2)
    assert checked().notes == []


def test_a_change_the_mode_refuses_is_told_with_its_line(project: Project) -> None:
    """The path, the rule, and both ways on; once, though two earlier versions object."""
    project.contract("shop.orders", MORE, version=2)
    project.contract("shop.orders", MORE | {"n": "long"}, version=4)
    (problem,) = refusals()
    assert problem.code == "INCOMPATIBLE_CHANGE"
    assert (problem.file, problem.line) == ("schemas/shop/orders/v4.avsc", 13)
    assert problem.message == (
        "shop.orders: under FULL_TRANSITIVE, n is long in v4, which readers of v2 cannot read as"
        ' int; declare "compatibility": "BACKWARD_TRANSITIVE" in v4 if its consumers can follow,'
        " or publish a new major shop.orders.v2"
    )


def test_a_transitive_mode_finds_what_only_the_first_version_minds(project: Project) -> None:
    """A field that v2 dropped comes back as another type: v1's events cannot be read."""
    fields = {"id": "string", "note": ["null", "string"]}
    project.contract("shop.orders", fields, version=2, compatibility=BACKWARD)
    again = fields | {"n": ["null", "string"]}
    project.contract("shop.orders", again, version=3, compatibility=BACKWARD)
    (problem,) = refusals()
    assert "n was int in v1 and is string in v3" in problem.message


def test_a_declared_mode_lets_a_promotion_pass(project: Project) -> None:
    """That is one of the two ways on; nobody here reads the older version."""
    project.contract("shop.orders", WIDER, version=2, compatibility=BACKWARD)
    assert checked().problems == []


def test_the_key_is_frozen_whatever_the_mode(project: Project) -> None:
    """Another key sends a record to another partition."""
    project.contract("shop.orders", version=2, key="n", compatibility="NONE")
    (problem,) = refusals()
    assert (problem.code, problem.line) == ("KEY_CHANGED", 5)
    assert "the key was id in v1 and is n in v2" in problem.message
    assert "shop.orders.v2" in problem.message


def test_a_key_written_in_other_bytes_is_another_key(project: Project) -> None:
    """An int of 4 bytes and a long of 8 hash to different partitions."""
    project.contract("shop.counts", {"id": "int"})
    project.contract("shop.counts", {"id": "long"}, version=2, compatibility=BACKWARD)
    (problem,) = refusals()
    assert "the key id was written as int in v1 and is long now" in problem.message


def test_another_event_time_is_told(project: Project) -> None:
    """Every reader's order in time hangs on it."""
    at = {"type": "long", "logicalType": "timestamp-millis"}
    fields = {"id": "string", "at": at, "seen": at}
    project.contract("shop.visits", fields, eventTime="at")
    project.contract("shop.visits", fields, version=2, eventTime="seen")
    (problem,) = refusals()
    assert (problem.code, problem.line) == ("EVENT_TIME_CHANGED", 29)
    assert "the event time was at in v1 and is seen now" in problem.message


def test_a_table_that_cannot_follow_is_told_before_the_snapshot_is(project: Project) -> None:
    """A promotion the registry and all consumers take, and Delta does not."""
    project.contract("shop.copies")
    project.product("shop.copies", SNAPSHOT)
    project.contract("shop.copies", WIDER, version=2, compatibility=BACKWARD)
    (problem,) = refusals()
    assert (problem.code, problem.file) == (
        "TABLE_CANNOT_FOLLOW",
        "schemas/shop/copies/v2.avsc",
    )
    assert "holds n of v1 as int32, which a delta table does not widen to int64" in problem.message


def test_a_default_that_changes_is_told_where_a_table_holds_the_old_one(project: Project) -> None:
    """Rows that v2 took have its default; the log gives the newer one. Nobody else minds."""
    project.contract("shop.copies")
    for version in (2, 3):
        file = project.contract("shop.copies", ORDERS | {"fee": "int"}, version=version)
        schema = json.loads(file.read_text())
        schema["fields"][-1]["default"] = version
        file.write_text(json.dumps(schema, indent=1))
    project.product("shop.copies", SNAPSHOT.replace(', snapshot=Snapshot(every="15m")', ""))
    assert checked().problems == []
    project.product("shop.copies", SNAPSHOT)
    (problem,) = refusals()
    assert problem.code == "TABLE_CANNOT_FOLLOW"
    assert "the snapshot holds fee of v1 as v2 read it" in problem.message


def test_the_consumer_that_breaks_is_named_with_its_line(project: Project) -> None:
    """Also where the declared mode allows the change; reading the newer version mends it."""
    file = project.passing("shop.copies")
    project.contract("shop.orders", WIDER, version=2, compatibility=BACKWARD)
    (problem,) = refusals()
    assert problem.code == "CONSUMER_BREAKS"
    assert (problem.file, problem.line) == ("products/shop/copies/product.py", 5)
    assert "shop.copies reads shop.orders with v1 and breaks on v2: n is long" in problem.message
    project.contract("shop.copies", WIDER)
    file.write_text(
        file.read_text().replace('"shop.orders", contract=1', '"shop.orders", contract=2')
    )
    assert checked().notes == []


def test_the_steps_are_typed_against_the_newer_version(project: Project) -> None:
    """What vanishes or changes, and which line of which product would say so: a note."""
    project.contract("shop.orders", ORDERS | {"size": ["null", "int"]})
    project.contract("shop.orders", version=2)
    project.contract("shop.sizes", {"id": "string", "size": ["null", "int"]})
    project.product(
        "shop.sizes",
        """\
        orders = product.stream("shop.orders", contract=1)
        product.publish(orders.select("id", "size"), contract=1)
        """,
    )
    (note,) = checked().notes
    assert note.startswith("shop.sizes reads shop.orders with v1; in v2 size is gone; ")
    place = "read with v2, products/shop/sizes/product.py:6: "
    assert f"{place}UNKNOWN_COLUMN: select-1: no column 'size' here" in note


def test_a_rename_that_no_mode_refuses_is_noted(project: Project) -> None:
    """With defaults on both sides every old value would be lost in silence."""
    fields = {"id": "string", "n": "int", "notes": ["null", "string"]}
    project.contract("shop.orders", fields, version=2)
    (note,) = checked().notes
    assert 'notes looks like note of v1 renamed; without "aliases": ["note"]' in note


def test_registering_refuses_what_check_refuses(project: Project) -> None:
    """Before anything is published."""
    project.passing("shop.copies")
    loaded = load_product("shop.copies")
    require_sound_changes([loaded])
    project.contract("shop.copies", version=2, key="n")
    with pytest.raises(DeclarationError, match="KEY_CHANGED"):
        require_sound_changes([loaded])


def test_a_deprecated_contract_is_told_to_its_readers(project: Project) -> None:
    """Who reads it, what to use instead, and louder once its day has come."""
    project.passing("shop.copies")
    path = project.contract("shop.orders", deprecated="use shop.orders.v2", sunset="2020-01-31")
    (note,) = checked().notes
    assert note == (
        "shop.copies reads shop.orders v1, which is PAST ITS SUNSET of 2020-01-31 and may end any"
        " day: use shop.orders.v2"
    )
    contract = load_contract(path.parents[2], "shop.orders", 1)
    assert fate_of(contract, date(2019, 12, 1)) == "deprecated and ends on 2020-01-31"
    project.contract("shop.orders", deprecated="use shop.orders.v2")
    assert "which is deprecated: use shop.orders.v2" in checked().notes[0]


def test_a_broken_contract_is_told_once_and_judged_by_nobody(project: Project) -> None:
    """The others are judged all the same."""
    project.contract("shop.orders", version=2, key="nothing")
    project.contract("shop.orders", WIDER, version=3)
    assert [each.code for each in refusals()] == ["BAD_KEY", "INCOMPATIBLE_CHANGE"]


SNAPSHOT = """\
from headwater import Snapshot
product = DataProduct("shop.copies", owner="shop@example.com", snapshot=Snapshot(every="15m"))
product.publish(product.stream("shop.orders", contract=1), contract=1)
"""


@pytest.fixture
def repository(project: Project) -> Project:
    """The project, committed on a branch `published`."""
    for arguments in (
        ("init", "-q", "-b", "published"),
        ("add", "schemas"),
        ("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "one"),
    ):
        subprocess.run(["git", *arguments], cwd=project.root, check=True)
    return project


def test_a_published_file_may_not_change(repository: Project) -> None:
    """What differs is named; a new version, and what becomes of the old one, may be added."""
    repository.contract("shop.orders", MORE, version=2)
    repository.contract("shop.orders", deprecated="use v2")
    assert check([], Path.cwd(), base="published").problems == []
    repository.contract("shop.orders", ORDERS | {"n": "long"}, doc="Other.")
    problem = refusals(base="published")[0]
    assert (problem.code, problem.file) == ("PUBLISHED_CHANGED", "schemas/shop/orders/v1.avsc")
    assert problem.message.startswith("it is published in published and differs in doc, n.type;")
    assert "write a new version" in problem.message


def test_a_published_file_may_not_vanish(repository: Project) -> None:
    """Its events are in the log for ever."""
    repository.contract("shop.other")
    (repository.root / "schemas/shop/orders/v1.avsc").unlink()
    (problem,) = refusals(base="published")
    assert problem.code == "PUBLISHED_CHANGED"
    assert str(problem).count("v1.avsc") == 1
    assert "it is published in published and is gone" in problem.message


def test_a_published_file_that_cannot_be_read_is_told(repository: Project) -> None:
    """By the check itself and against the base, each in a sentence with the file."""
    repository.contract("shop.other")
    file = repository.root / "schemas/shop/orders/v1.avsc"
    file.write_bytes(b"\xff\xfe{}")
    text, changed = refusals(base="published")
    assert (text.code, changed.code) == ("UNREADABLE_FILE", "PUBLISHED_CHANGED")
    assert "shop.orders v1 cannot be read (it is not UTF-8); save it as" in text.message
    assert "differs in everything" in changed.message
    file.unlink()
    file.mkdir()
    text, changed = refusals(base="published")
    assert "shop.orders v1 cannot be read (Is a directory); save it as a file" in text.message
    assert "cannot be read here: Is a directory; a published contract is" in changed.message
    assert {text.file, changed.file} == {"schemas/shop/orders/v1.avsc"}
    file.rmdir()
    file.parent.rmdir()
    file.parent.write_text("no folder")
    (gone,) = refusals(base="published")
    assert "is published in published and is gone" in gone.message


def test_what_was_no_contract_in_the_base_may_be_mended(repository: Project) -> None:
    """Bytes that are no text, or a name: nobody read events with them."""
    folder = repository.root / "schemas/shop/odd"
    folder.mkdir()
    (folder / "v1.avsc").write_bytes(b"\xff\xfe{}")
    (folder / "v2.avsc").write_text("[" * 5_000)
    (folder / "\udcff.avsc").write_text("{}")
    for arguments in (
        ("add", "schemas"),
        ("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "two"),
    ):
        subprocess.run(["git", *arguments], cwd=repository.root, check=True)
    for file in folder.iterdir():
        file.unlink()
    repository.contract("shop.odd")
    (problem,) = refusals(base="published")
    assert problem.file == "schemas/shop/odd/\udcff.avsc"
    assert "it is published in published and is gone" in problem.message


@pytest.mark.parametrize("base", ["nowhere", "--help"])
def test_a_base_that_git_does_not_know_is_one_sentence(repository: Project, base: str) -> None:
    """No stack trace, and no other command of git."""
    (problem,) = refusals(base=base)
    assert (problem.code, problem.message) == (
        "NO_BASE",
        f"{base!r} is no branch, tag or commit of the git repository here; fetch it first",
    )


def test_an_empty_base_is_told_as_such(repository: Project) -> None:
    """There is nothing to fetch: a variable of a pipeline was empty."""
    (problem,) = refusals(base="")
    assert problem.code == "NO_BASE"
    assert problem.message.startswith("--base is empty; name a branch")


def test_outside_a_repository_there_is_no_base(project: Project) -> None:
    """And nothing to fetch."""
    (problem,) = refusals(base="main")
    assert problem.code == "NO_BASE"
    assert problem.message.startswith("git finds no repository of yours here")


@pytest.mark.parametrize("folder", ["v0", "v1", "v02", "v1/late"])
def test_folders_of_no_major_hold_no_contracts(project: Project, folder: str) -> None:
    """No product could publish them: the first major has no suffix, others begin with v2."""
    file = project.contract(f"shop.orders.{folder.replace('/', '.')}")
    (problem,) = refusals()
    assert problem.code == "STRAY_CONTRACT"
    assert problem.file == str(file.relative_to(project.root))


def test_a_schema_in_the_registry_that_is_no_file_is_told(project: Project) -> None:
    """Only of what the project publishes: an upstream's versions are its own."""
    project.passing("shop.copies")
    registry = MemoryRegistry()
    register(load_contract(project.root / "schemas", "shop.copies", 1), registry)
    registry.register("shop.orders-value", '{"type": "string"}', compatibility="NONE")
    assert check([], Path.cwd(), registry=registry).problems == []
    project.contract("shop.copies", doc="Other words.")
    (problem,) = refusals(registry=registry)
    assert (problem.code, problem.file) == ("PUBLISHED_CHANGED", "schemas/shop/copies/v1.avsc")
    assert "version 1 of shop.copies-value in the registry is none of the files" in problem.message
    assert "v1 is the nearest and differs in doc" in problem.message


def test_majors_are_products_side_by_side(project: Project) -> None:
    """`v2` has a folder, contracts and a name of its own; one may read the other to migrate."""
    project.passing("shop.copies")
    project.contract("shop.copies.v2", {"id": "string", "n": "long"})
    project.product(
        "shop.copies.v2",
        """\
        old = product.stream("shop.copies", contract=1)
        product.publish(old.select("id", pl.col("n").cast(pl.Int64)), contract=1)
        product.publish(old.select("id", pl.col("n").cast(pl.Int64)), contract=1, port="late")
        """,
    )
    project.contract("shop.copies.v2.late", {"id": "string", "n": "long"})
    found = checked()
    assert found.products == ["shop.copies", "shop.copies.v2"]
    assert load_product("shop.copies.v2").name == "shop.copies.v2"
    assert {"shop.copies.v2 v1", "shop.copies.v2.late v1"} <= set(found.contracts)


@pytest.mark.parametrize(
    "name", ["shop.copies.v1", "shop.copies.v0", "shop.copies.v02", "shop.copies.x"]
)
def test_the_first_major_has_no_suffix(project: Project, name: str) -> None:
    """There is one name for each product."""
    project.contract(name)
    project.product(
        name, 'product.publish(product.stream("shop.orders", contract=1), contract=1)\n'
    )
    assert "INVALID_NAME" in {each.code for each in refusals(f"products/{name.replace('.', '/')}")}


def test_a_gate_reads_each_contract_of_a_topic_once(project: Project) -> None:
    """Gaps are fine, and files that are no versions are not read as such."""
    project.contract("shop.orders", MORE, version=12)
    (project.root / "schemas/shop/orders/vx.avsc").write_text(json.dumps({}))
    gate = Gate(project.root, readable_products(project.root))
    assert [each.version for each in gate.versions("shop.orders")] == [1, 12]
    assert gate.versions("shop.orders") is gate.versions("shop.orders")
