"""Confluent's own serializers write what products read, and read what products write."""

from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    header_schema_id_serializer,
    record_subject_name_strategy,
    topic_record_subject_name_strategy,
    topic_subject_name_strategy,
)
from tests.wire.airport import Airport
from tests.wire.guid_registry import GuidRegistry

STRATEGIES: dict[str, Any] = {
    "topic": topic_subject_name_strategy,
    "record": record_subject_name_strategy,
    "topic-record": topic_record_subject_name_strategy,
}


def gate(name: str, number: int) -> dict[str, Any]:
    """One event."""
    return {"gate": name, "number": number}


def copy(airport: Airport, *, reading: str = "", publishing: str = "") -> tuple[str, str]:
    """A topic of gates, and a product that publishes each of them again, with further options."""
    source = airport.topic("gates")
    airport.contract("gates", "Gate")
    airport.contract("copy", "Gate")
    product = airport.product(
        "copy",
        f"""
        gates = product.stream("{source}", contract=1{reading})
        product.publish(gates, contract=1{publishing})
        """,
    )
    return source, product


def serializers(airport: Airport, *records: str) -> list[Any]:
    """Confluent's own, which name each record in the subject of its schema."""
    url, strategy = airport.addresses.registry, STRATEGIES["topic-record"]
    return [
        airport.serializer(url, airport.schema(record), subject_name_strategy=strategy)
        for record in records
    ]


@pytest.mark.kafka
@pytest.mark.parametrize("subjects", STRATEGIES)
def test_subjects_are_named_in_three_ways(airport: Airport, subjects: str) -> None:
    """A record whose schema stands under no subject of the topic costs itself alone."""
    source, product = copy(airport, reading=f', subjects="{subjects}"')
    url = airport.addresses.registry
    strategy = {"subject_name_strategy": STRATEGIES[subjects]}
    ours = airport.serializer(url, airport.schema("Gate"), **strategy)
    # the same record, registered for another topic: another schema, another id
    strayed = airport.serializer(
        url,
        airport.schema("Gate", doc="Of another topic."),
        subject_name_strategy=lambda _context, _name: f"{airport.domain}.elsewhere-value",
    )
    sent = [(ours, gate("A1", 1)), (strayed, gate("X1", 2)), (ours, gate("A2", 3))]
    airport.send(source, sent)
    airport.run(product)
    assert airport.read(product, url) == [gate("A1", 1), gate("A2", 3)]
    ((code, value),) = airport.letters(product)
    assert (code, value) == ("SCHEMA_SUBJECT_MISMATCH", airport.records(source)[1].value)


@pytest.mark.kafka
def test_several_types_in_one_topic_are_read_as_several_frames(airport: Airport) -> None:
    """In their order, each under its own contract; types that nobody asked for are skipped."""
    source = airport.topic("gates")
    for name in ("Opened", "Closed"):
        airport.contract(f"gate-{name.lower()}", name)
    airport.contract("doors", "Door")
    airport.contract("doors.closings", "Closing")
    product = airport.product(
        "doors",
        f"""
        opened, closed = product.stream(
            "{source}",
            contracts=[("{airport.domain}.gate-opened", 1), ("{airport.domain}.gate-closed", 1)],
            others="skip",
        )
        product.publish(opened, contract=1)
        product.publish(closed, contract=1, port="closings")
        """,
    )
    opened, closed, moved = serializers(airport, "Opened", "Closed", "Moved")
    sent = [((opened, closed, moved)[n % 3], gate(f"A{n % 5}", n)) for n in range(60)]
    airport.send(source, sent)
    url = airport.addresses.registry
    airport.run(product)
    assert airport.read(product, url) == [each for by, each in sent if by is opened]
    assert airport.read(f"{product}.closings", url) == [each for by, each in sent if by is closed]
    assert airport.letters(product) == []


@pytest.mark.kafka
def test_one_type_of_several_is_read_whatever_its_namespace(airport: Airport) -> None:
    """The others halt nothing; a record whose namespace moved is still of that type."""
    source = airport.topic("gates")
    airport.contract("gate-opened", "Opened")
    airport.contract("openings", "Opening")
    product = airport.product(
        "openings",
        f"""
        (opened,) = product.stream(
            "{source}", contracts=[("{airport.domain}.gate-opened", 1)], others="skip"
        )
        product.publish(opened, contract=1)
        """,
    )
    opened, closed, moved = serializers(airport, "Opened", "Closed", "terminal.Opened")
    sent = [((opened, closed, moved)[n % 3], gate(f"A{n % 5}", n)) for n in range(30)]
    airport.send(source, sent)
    summary = airport.run(product)
    assert (summary["read"], summary["skipped"]) == (30, 10)
    published = airport.read(product, airport.addresses.registry)
    assert published == [each for by, each in sent if by is not closed]
    assert airport.letters(product) == []


@pytest.mark.kafka
def test_schemas_are_named_in_headers(airport: Airport, guids: GuidRegistry) -> None:
    """V1 is read beside V0, written where it is asked for, and its snapshot is proved."""
    source, product = copy(airport, publishing=', schema_id="header"')
    schema = airport.schema("Gate")
    framed = airport.serializer(guids.url, schema)
    headed = airport.serializer(guids.url, schema, schema_id_serializer=header_schema_id_serializer)
    sent = [((framed, headed)[n % 2], gate(f"gate {n}", n)) for n in range(40)]
    airport.send(source, sent)
    airport.run(product, url=guids.url)
    records = airport.records(product)
    assert {tuple(name for name, _ in each.headers) for each in records} == {("__value_schema_id",)}
    assert airport.read(product, guids.url) == [each for _, each in sent]
    assert airport.letters(product) == []
    for command in ("snapshot", "verify"):
        done = airport.command(command, product, url=guids.url)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.kafka
def test_a_registry_without_guids_is_told_before_the_first_record(airport: Airport) -> None:
    """A header would hold one; the author learns what to change."""
    _, product = copy(airport, publishing=', schema_id="header"')
    done = airport.process("run", product, "--until-end")
    assert done.returncode == 78
    assert "NO_SCHEMA_GUID" in done.stderr
    assert "Traceback" not in done.stderr
