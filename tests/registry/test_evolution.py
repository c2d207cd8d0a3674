"""Contracts that change, on the real registry and broker, and through Confluent's serializers."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import polars as pl
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.serialization import MessageField, SerializationContext
from tests.registry.confluent import deserializer, registry_client, serializer
from tests.wire.airport import Airport

from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.registration import lookup_ids, register
from headwater.contract import Contract, Decoder, Encoder, incompatibilities, parse_contract
from headwater.embedded import Addresses
from headwater.errors import RegistrationRefusedError

pytestmark = pytest.mark.kafka

BACKWARD: Final = "BACKWARD_TRANSITIVE"
FULL: Final = "FULL_TRANSITIVE"
GUIDE: Final = Path(__file__).parents[2] / "docs/evolution.md"
FILE: Final = re.compile(
    r"^`((?:products|schemas)/[^`]+)`\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE
)

GATE: dict[str, Any] = {"name": "gate", "type": "string"}
DELAY: dict[str, Any] = {"name": "delay", "type": "int"}
NOTE: dict[str, Any] = {"name": "note", "type": ["null", "string"], "default": None}
LONG: dict[str, Any] = {"name": "delay", "type": "long"}
LATE: dict[str, Any] = {"name": "late", "type": "int", "aliases": ["delay"]}

OLD_EVENT = {"gate": "A1", "delay": 7}
# The mode, the fields of the newer version, one event of it, and what the older event is to it.
READABLE: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any], dict[str, Any]]] = {
    "compatible": (
        FULL,
        [GATE, DELAY, NOTE],
        {"gate": "B2", "delay": 9, "note": "late"},
        {"gate": "A1", "delay": 7, "note": None},
    ),
    "promoted": (
        BACKWARD,
        [GATE, LONG],
        {"gate": "B2", "delay": 1 << 40},
        {"gate": "A1", "delay": 7},
    ),
    "aliased": (BACKWARD, [GATE, LATE], {"gate": "B2", "late": 9}, {"gate": "A1", "late": 7}),
    "dropped": (BACKWARD, [GATE], {"gate": "B2"}, {"gate": "A1"}),
}
REFUSED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "required": (FULL, [GATE, DELAY, {"name": "note", "type": "string"}]),
    "retyped": (BACKWARD, [GATE, {"name": "delay", "type": "string"}]),
    "promoted": (FULL, [GATE, LONG]),
    "aliased": (FULL, [GATE, LATE]),
    "dropped": (FULL, [GATE]),
    "nullable": (FULL, [GATE, {"name": "delay", "type": ["null", "int"]}]),
}


def contract(topic: str, version: int, fields: list[dict[str, Any]], mode: str = FULL) -> Contract:
    """A version of a topic's contract."""
    documented = [{"doc": "d", **each} for each in fields]
    names = {"type": "record", "name": "Delay", "namespace": "n", "key": "gate"}
    schema = {**names, "compatibility": mode, "fields": documented}
    path = Path(f"v{version}.avsc")
    return parse_contract(json.dumps(schema), topic=topic, version=version, path=path)


@pytest.fixture
def registry(stack: Addresses) -> Iterator[SchemaRegistry]:
    """The real one."""
    with closing(SchemaRegistry({"url": stack.registry})) as registry:
        yield registry


@pytest.fixture
def client(stack: Addresses) -> Iterator[SchemaRegistryClient]:
    """Confluent's."""
    client = registry_client(stack.registry)
    yield client
    client.close()


@pytest.fixture
def topic() -> str:
    """A topic nobody used before."""
    return f"e{uuid4().hex[:10]}.delays"


def encoded(contract: Contract, event: dict[str, Any], registry: SchemaRegistry) -> bytes:
    """One event, framed under its registered id."""
    frame = pl.DataFrame([event], schema=contract.columns).with_row_index("_row")
    value = Encoder(contract, *lookup_ids([contract], registry)[contract.topic]).encode(frame)
    assert not value.quarantined
    return bytes(next(iter(value.values)))


def decoded(contract: Contract, value: bytes, registry: SchemaRegistry) -> list[dict[str, Any]]:
    """What a reader of this contract makes of a framed value, on both paths."""
    decoder = Decoder(contract, registry.schema)
    columnar, by_row = decoder.decode([value]), decoder.decode_by_row([value])
    assert columnar.frame.equals(by_row.frame)
    return columnar.frame.drop("_row").to_dicts()


@pytest.mark.parametrize("case", READABLE)
def test_old_events_are_read_with_the_new_version(
    case: str, topic: str, registry: SchemaRegistry
) -> None:
    """The gate says yes, the registry takes it, and values are those that were written."""
    mode, fields, event, old_as_new = READABLE[case]
    older, newer = contract(topic, 1, [GATE, DELAY]), contract(topic, 2, fields, mode)
    assert incompatibilities(newer, older, mode) == []
    register(older, registry)
    register(newer, registry)
    assert decoded(newer, encoded(older, OLD_EVENT, registry), registry) == [old_as_new]
    assert decoded(newer, encoded(newer, event, registry), registry) == [event]


@pytest.mark.parametrize("case", REFUSED)
def test_the_registry_refuses_what_the_gate_refuses(
    case: str, topic: str, registry: SchemaRegistry
) -> None:
    """Nothing of it is published."""
    mode, fields = REFUSED[case]
    older, newer = contract(topic, 1, [GATE, DELAY]), contract(topic, 2, fields, mode)
    assert incompatibilities(newer, older, mode) != []
    register(older, registry)
    with pytest.raises(RegistrationRefusedError):
        register(newer, registry)
    assert len(registry.versions(f"{topic}-value")) == 1


def test_new_events_are_read_with_the_old_version(topic: str, registry: SchemaRegistry) -> None:
    """A compatible change is invisible to who pinned the older one."""
    _, fields, event, _ = READABLE["compatible"]
    older, newer = contract(topic, 1, [GATE, DELAY]), contract(topic, 2, fields)
    register(older, registry)
    register(newer, registry)
    value = encoded(newer, event, registry)
    assert decoded(older, value, registry) == [{"gate": "B2", "delay": 9}]


@pytest.mark.parametrize("case", READABLE)
def test_confluents_serializers_agree_in_both_directions(
    case: str, topic: str, registry: SchemaRegistry, client: SchemaRegistryClient
) -> None:
    """What they write we read with the new version, and they read what we write."""
    mode, fields, event, old_as_new = READABLE[case]
    older, newer = contract(topic, 1, [GATE, DELAY]), contract(topic, 2, fields, mode)
    register(older, registry)
    register(newer, registry)
    context = SerializationContext(topic, MessageField.VALUE)
    write = serializer(client, older.text, auto_register_schemas=False)
    theirs = write(dict(OLD_EVENT), context)
    assert theirs == encoded(older, OLD_EVENT, registry)
    assert decoded(newer, theirs, registry) == [old_as_new]
    read = deserializer(client, newer.text)
    assert read(encoded(older, OLD_EVENT, registry), context) == old_as_new
    assert read(encoded(newer, event, registry), context) == event
    if mode == FULL:
        pinned = deserializer(client, older.text)
        assert pinned(encoded(newer, event, registry), context) == {"gate": "B2", "delay": 9}


@pytest.fixture
def airport(stack: Addresses, tmp_path: Path) -> Iterator[Airport]:
    """Topics, contracts and products of this test alone."""
    with closing(Airport(stack, tmp_path)) as airport:
        yield airport


def test_a_log_of_two_versions_is_read_by_both_pins(airport: Airport) -> None:
    """One product reads all of it with v1, another with v2, in order."""
    source = airport.topic("gates")
    note = {"name": "note", "type": ["null", "string"], "doc": "d", "default": None}
    fields = [*json.loads(airport.schema("Gate"))["fields"], note]
    airport.contract("gates", "Gate")
    airport.contract("gates", "Gate", version=2, fields=fields)
    airport.contract("first", "Gate")
    airport.contract("second", "Gate", fields=fields)
    products = [
        airport.product(
            name,
            f'product.publish(product.stream("{source}", contract={pin}), contract=1)\n',
        )
        for name, pin in (("first", 1), ("second", 2))
    ]
    url = airport.addresses.registry
    old = airport.serializer(url, airport.schema("Gate"))
    new = airport.serializer(url, airport.schema("Gate", fields=fields))
    events = [{"gate": "A1", "number": 1}, {"gate": "B2", "number": 2, "note": "x"}]
    airport.send(source, [(old, events[0]), (new, events[1]), (old, events[0])])
    for product in products:
        airport.run(product)
    first, second = (airport.read(product, url) for product in products)
    assert first == [{"gate": "A1", "number": 1}, {"gate": "B2", "number": 2}, first[0]]
    assert second == [events[0] | {"note": None}, events[1], second[0]]


def test_the_guide_to_a_new_major_does_what_it_says(airport: Airport) -> None:
    """The files of docs/evolution.md: both majors run, and the new one holds the old one's log."""
    files = FILE.findall(GUIDE.read_text(encoding="utf-8"))
    assert len(files) == 5
    for name, text in files:
        path = airport.folder / name.replace("/operations/", f"/{airport.domain}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace('"operations.', f'"{airport.domain}.'))
    source, url = airport.topic("gates"), airport.addresses.registry
    schema = airport.folder / "schemas" / airport.domain / "gates/v1.avsc"
    write = airport.serializer(url, schema.read_text())
    airport.send(
        source, [(write, {"gate": "A1", "delay_min": 2}), (write, {"gate": "B2", "delay_min": 0})]
    )
    old, new = f"{airport.domain}.gate-delays", f"{airport.domain}.gate-delays.v2"
    told = f"{new} reads {old} v1, which is deprecated and ends on 2030-06-30: read operations."
    checked = airport.command("check")
    assert checked.returncode == 0, checked.stderr
    assert f"note      {told}" in checked.stdout
    airport.run(old)
    ran = airport.command("run", new, "--until-end")
    assert ran.returncode == 0, ran.stderr
    assert f"warning: {told}" in ran.stderr
    assert "run.deprecated_input" in ran.stderr + ran.stdout
    assert airport.read(new, url) == [
        {"gate": "A1", "delay_s": 120.0},
        {"gate": "B2", "delay_s": 0.0},
    ]
    fate = "deprecated and ends on 2030-06-30: read operations.gate-delays.v2"
    assert fate in airport.command("describe", old).stdout
    assert fate in airport.command("register", old).stdout
    assert fate in airport.command("schema", "show", old).stdout
    assert fate in airport.command("schema", "versions", old).stdout
    assert airport.command("check", "--registry").returncode == 0
    contract = airport.folder / "schemas" / airport.domain / "gate_delays/v2/v1.avsc"
    contract.write_text(contract.read_text().replace("How late.", "How late it was."))
    refused = airport.command("check", "--registry")
    assert (refused.returncode, "PUBLISHED_CHANGED" in refused.stderr) == (78, True)


@pytest.mark.faults
def test_two_majors_run_side_by_side_from_one_input(airport: Airport) -> None:
    """At the same time, each with its own group, log, dead letters and snapshot."""
    source, url = airport.topic("gates"), airport.addresses.registry
    airport.contract("gates", "Gate")
    names = ("copy", "copy.v2")
    majors = []
    for name in names:
        airport.contract(name, "Gate")
        majors.append(
            airport.product(
                name, f'product.publish(product.stream("{source}", contract=1), contract=1)\n'
            )
        )
    write = airport.serializer(url, airport.schema("Gate"))
    events = [{"gate": f"A{number}", "number": number} for number in range(20)]
    airport.send(source, [(write, each) for each in events])
    done = airport.command("run", *majors, "--until-end")
    assert done.returncode == 0, done.stderr
    for major in majors:
        assert airport.read(major, url) == events
        for command in ("snapshot", "verify"):
            cut = airport.command(command, major)
            assert cut.returncode == 0, cut.stderr
