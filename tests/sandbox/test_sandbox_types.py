"""The sandbox decodes as a run does: several types in one topic, schemas named in headers."""

import json
from contextlib import closing
from pathlib import Path
from typing import Final

import polars as pl

from headwater.adapters.memory.reader import MemoryRecords
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.registration import SchemaIds
from headwater.assembly.sandbox import ChildSandbox, Setting
from headwater.assembly.sandbox_wire import packed, table, unpacked
from headwater.contract import Encoder, guid_header, load_contract
from headwater.model import Code, Headers, Partition, RawRecord

TOPIC: Final = "shop.events"
PRODUCT: Final = """
import os
from headwater import DataProduct

product = DataProduct(name="shop.bills", owner="shop@example.org")
orders, refunds = product.stream(
    "shop.events", contracts=[("shop.orders", 1), ("shop.refunds", 1)]
)

def act(frame):
    if (frame["id"] == "exit").any():
        os._exit(0)
    return frame

product.publish(orders.map(act), contract=1)
product.publish(refunds.select("id").map(act), contract=1, port="refunds")
"""


def contract(root: Path, topic: str, name: str) -> None:
    """A contract of one field."""
    fields = [{"name": "id", "type": "string", "doc": "What it does to a process."}]
    schema = {"type": "record", "name": name, "namespace": "shop", "doc": "d", "fields": fields}
    file = root.joinpath("schemas", *topic.split("."), "v1.avsc")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({**schema, "key": "id"}))


def test_a_deadly_record_is_found_among_several_types_whatever_names_its_schema(
    tmp_path: Path,
) -> None:
    """In the step of its own type."""
    for topic, name in (("orders", "Order"), ("refunds", "Refund"), ("bills", "Bill")):
        contract(tmp_path, f"shop.{topic}", name)
    contract(tmp_path, "shop.bills.refunds", "Refund")
    file = tmp_path / "products/shop/bills/product.py"
    file.parent.mkdir(parents=True)
    file.write_text(PRODUCT)
    registry, records = MemoryRegistry(), list[RawRecord]()
    for name in ("orders", "refunds"):
        read = load_contract(tmp_path / "schemas", f"shop.{name}", 1)
        subject = f"{TOPIC}-{read.record.name}"
        held = registry.register(subject, read.text, compatibility="NONE")
        assert held.guid is not None
        for schema_id, headers, last in (
            (held.schema_id, (), "good"),
            (None, guid_header(held.guid), "exit"),
        ):
            frame = pl.DataFrame({"id": ["good", last]})
            for value in Encoder(read, schema_id).encode(frame).values:
                place = Partition(TOPIC, 0), len(records), 0
                records.append(RawRecord(*place, b"k", value, headers))
    ids = {"shop.bills": SchemaIds(1), "shop.bills.refunds": SchemaIds(2)}
    with closing(ChildSandbox(Setting(file, ids, registry, step_timeout_s=3.0))) as sandbox:
        found = sandbox.guilty(MemoryRecords(TOPIC, records), lambda: None)
    assert [(each.row, each.code, each.step) for each in found] == [
        (3, Code.PROCESS_DIED, "map-1"),
        (7, Code.PROCESS_DIED, "map-1"),
    ]


def test_records_arrive_in_the_child_as_they_were() -> None:
    """Nulls, empty ones, and headers that are null or there twice."""
    headers: Headers = (("a", b"1"), ("a", None), ("b", b""))
    records = [
        RawRecord(Partition("t", 2), 7, 11, None, None, headers),
        RawRecord(Partition("t", 2), 9, 12, b"", b"", ()),
    ]
    assert unpacked("t", packed(table(MemoryRecords("t", records)))).records == records
