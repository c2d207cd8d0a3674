"""Dead letters of what Confluent's serializers write: several types, schemas named in headers."""

import json

import pytest
from confluent_kafka.schema_registry import (
    header_schema_id_serializer,
    topic_record_subject_name_strategy,
)
from tests.wire.airport import Airport
from tests.wire.guid_registry import GuidRegistry, guid_of

from headwater.product.names import folder_of

STRICT = """
def strict(frame):
    if (frame["gate"] == "BAD").any():
        raise ValueError("no such gate")
    return frame
opened, closed = product.stream("{source}", contracts=[("{opened}", 1), ("{closed}", 1)])
product.publish(opened.map(strict), contract=1)
product.publish(closed.map(strict), contract=1, port="closings")
"""
SENSITIVE = [
    {"name": "gate", "type": "string", "doc": "Which."},
    {"name": "number", "type": "long", "doc": "Whose.", "sensitivity": "personal"},
]


@pytest.mark.kafka
def test_letters_of_two_types_named_in_headers_are_shown_masked_and_replayed(
    airport: Airport, guids: GuidRegistry
) -> None:
    """Each by its own contract: what one holds sensitive is no secret of the other."""
    source = airport.topic("gates")
    opened = airport.contract("gate-opened", "Opened")
    closed = airport.contract("gate-closed", "Closed", fields=SENSITIVE)
    airport.contract("doors", "Door")
    airport.contract("doors.closings", "Closing", fields=SENSITIVE)
    body = STRICT.format(source=source, opened=opened, closed=closed)
    product = airport.product("doors", body)
    schemas = [airport.schema("Opened"), airport.schema("Closed")]
    headed, framed = (
        airport.serializer(
            guids.url,
            schema,
            subject_name_strategy=topic_record_subject_name_strategy,
            **more,
        )
        for schema, more in zip(
            schemas, ({"schema_id_serializer": header_schema_id_serializer}, {}), strict=True
        )
    )
    sent = [
        ((headed, framed)[n % 2], {"gate": "BAD" if n in {4, 7} else f"A{n}", "number": 70 + n})
        for n in range(12)
    ]
    airport.send(source, sent)
    airport.run(product, url=guids.url)
    assert [code for code, _ in airport.letters(product)] == ["STEP_FAILED"] * 2

    shown = airport.command(
        "dead-letters", "show", product, "--payload", "--format", "json", url=guids.url
    )
    found = json.loads(shown.stdout)["letters"]
    of_header, of_frame = sorted(found, key=lambda each: each["source"]["offset"])
    assert (of_header["schema_id"], of_header["schema_guid"]) == (None, guid_of(schemas[0]))
    assert of_header["payload"]["value"] == {"gate": "BAD", "number": 74}
    assert of_frame["schema_guid"] is None
    assert of_frame["payload"]["value"] == {"gate": "BAD", "number": "<redacted>"}

    file = airport.folder / "products" / folder_of(product) / "product.py"
    file.write_text(file.read_text().replace(".map(strict)", ""))
    done = airport.command("dead-letters", "replay", product, "--format", "json", url=guids.url)
    assert json.loads(done.stdout)["replayed"] == 2, done.stderr
    for topic, by in ((product, headed), (f"{product}.closings", framed)):
        wanted = [each["number"] for sender, each in sent if sender is by]
        assert sorted(each["number"] for each in airport.read(topic, guids.url)) == wanted
