"""Two definitions over a log in memory: what each would publish, side by side."""

import json
from pathlib import Path

import polars as pl
import pytest
from tests.diff.shop import BODY, ORDER, Shop, stopping

from headwater.adapters.memory import MemoryBroker
from headwater.contract import Decoder, Encoder, guid_header, load_contract
from headwater.errors import (
    ConfigurationError,
    DeclarationError,
    StartRefusedError,
    UnverifiableError,
)
from headwater.model import Partition


def test_the_same_definition_elsewhere_is_equal(shop: Shop, tmp_path: Path) -> None:
    """A file alone takes today's contracts."""
    compared = shop.diff(shop.product(tmp_path / "next", BODY, "lone"))
    assert compared.findings() == []
    assert compared.records == 100
    assert compared.ports[None].rows["equal"] == 100


def test_changed_added_and_removed_rows_are_counted_by_column_and_shown(
    shop: Shop, tmp_path: Path
) -> None:
    """Rows filtered away are removed, others made twice are added, altered ones changed."""
    body = """\
        def other(frame):
            frame = frame.filter(pl.col("n") >= 10)
            twice = frame.filter(pl.col("n") >= 95)
            both = pl.concat([frame, twice]).sort("_row", maintain_order=True)
            return both.with_columns(n=pl.when(pl.col("n") < 30).then(0).otherwise(pl.col("n")))
        product.publish(orders.map(other).select("id", "n", "note"), contract=1)
    """
    compared = shop.diff(shop.product(tmp_path / "next", body), sample=2)
    tally = compared.ports[None]
    assert dict(tally.rows) == {
        "today": 100,
        "candidate": 95,
        "equal": 70,
        "added": 5,
        "removed": 10,
        "changed": 20,
    }
    assert dict(tally.columns) == {"n": 20}
    kinds = [row["kind"] for row in tally.sample.rows()]
    assert kinds == ["changed"] * 2 + ["added"] * 2 + ["removed"] * 2
    changed = tally.sample.rows()[0]
    assert changed["columns"]["n"]["candidate"] == 0
    assert changed["key"] == {"id": f"o{changed['columns']['n']['today'] % 40}"}


def test_what_is_allowed_is_no_difference(shop: Shop, tmp_path: Path) -> None:
    """By kind, or by column; another column still counts."""
    body = 'product.publish(orders.select("id", n=pl.col("n") + 1, note=pl.lit("x")), contract=1)\n'
    path = shop.product(tmp_path / "next", body)
    assert [each.flag for each in shop.diff(path).beyond()] == ["changed:n", "changed:note"]
    assert [each.flag for each in shop.diff(path, "changed:n").beyond()] == ["changed:note"]
    assert shop.diff(path, "changed:n", "changed:note").beyond() == []
    assert shop.diff(path, "changed").beyond() == []
    assert len(shop.diff(path, "added", "removed").beyond()) == 2
    with pytest.raises(ConfigurationError, match="did you mean note"):
        shop.diff(path, "changed:notes")
    with pytest.raises(ConfigurationError, match="write added, removed"):
        shop.diff(path, "all")


def test_another_checkout_has_its_own_contracts_and_neighbours(shop: Shop, tmp_path: Path) -> None:
    """Both definitions import a module of one name, and each gets its own."""
    body = """\
        from rules import more
        from lib.sums import factor
        n = pl.col("n") * factor + more()
        product.publish(orders.select("id", "note", {extra} n=n), contract=1)
    """
    for root, more, factor in ((shop.root, 0, 1), (tmp_path / "next", 5, 2)):
        extra = "kind=pl.lit('new')," if more else ""
        folder = shop.product(
            root, body.format(extra=extra).replace('"note",  n', '"note", n')
        ).parent
        (folder / "rules.py").write_text(f"def more():\n    return {more}\n")
        (folder / "lib").mkdir()
        (folder / "lib" / "__init__.py").write_text("")
        (folder / "lib" / "sums.py").write_text(f"factor = {factor}\n")
        shop.contract("shop.orders", ORDER, root)
        shop.contract("shop.copies", ORDER | ({"kind": "string"} if more else {}), root)
    compared = shop.diff(tmp_path / "next")
    tally = compared.ports[None]
    assert tally.layout.added == ["kind"]
    assert tally.rows["changed"] == 100
    sample = tally.sample.rows()[0]["columns"]["n"]
    assert sample["candidate"] == sample["today"] * 2 + 5
    assert [each.flag for each in compared.findings()] == ["changed:kind", "changed:n"]


def test_ports_and_keys_of_one_side_are_told(shop: Shop, tmp_path: Path) -> None:
    """Rows of a new port are added, those of a dropped one removed; another key is a change."""
    for port in ("few", "most"):
        shop.contract(f"shop.copies.{port}", ORDER)
    publish = 'product.publish(orders.select("id", "n", "note"), contract=1{})\n'
    shop.product(shop.root, publish.format("") + publish.format(', port="few"'))
    other = tmp_path / "next"
    for topic in ("shop.orders", "shop.copies", "shop.copies.most"):
        shop.contract(topic, ORDER, other, key="n" if topic == "shop.copies" else "id")
    shop.product(other, publish.format("") + publish.format(', port="most"'))
    compared = shop.diff(other)
    assert {name: dict(each.rows) for name, each in compared.ports.items() if name} == {
        "few": {"today": 100, "candidate": 0, "equal": 0, "added": 0, "removed": 100, "changed": 0},
        "most": {
            "today": 0,
            "candidate": 100,
            "equal": 0,
            "added": 100,
            "removed": 0,
            "changed": 0,
        },
    }
    assert compared.ports[None].rows["equal"] == 100
    assert "the key of shop.copies is another" in [each.text for each in compared.beyond()]


def test_records_set_aside_by_one_side_are_told_with_their_code(shop: Shop, tmp_path: Path) -> None:
    """Also where nothing was published of them before."""
    shop.feed([b"\1nonsense"])
    body = """\
        def half(event):
            if event["n"] % 10 == 0:
                raise ValueError("no tens")
            return event
        product.publish(orders.map_events(half), contract=1)
    """
    compared = shop.diff(shop.product(tmp_path / "next", body))
    assert compared.refused.today == {"BAD_MAGIC": 1}
    assert compared.refused.candidate == {"BAD_MAGIC": 1, "STEP_FAILED": 10}
    assert compared.refused.only_candidate == {"STEP_FAILED": 10}
    texts = [each.text for each in compared.beyond()]
    assert texts == [
        "10 rows of shop.copies removed",
        "10 records more in the dead letters: STEP_FAILED",
    ]
    assert shop.diff(tmp_path / "next" / "products/shop/copies", "removed").beyond() == []


def test_sensitive_fields_are_masked_in_the_sample(shop: Shop, tmp_path: Path) -> None:
    """On both sides, whichever contract says so."""
    other = tmp_path / "next"
    shop.contract("shop.orders", ORDER, other)
    secret = ORDER | {"note": {"type": ORDER["note"], "sensitivity": "personal"}}
    shop.contract("shop.copies", secret, other)
    shop.product(other, 'product.publish(orders.select("id", "n", note=pl.lit("x")), contract=1)\n')
    tally = shop.diff(other).ports[None]
    assert tally.rows["changed"] == 100
    assert {str(row["columns"]) for row in tally.sample.rows()} == {
        "{'note': {'today': '<redacted>', 'candidate': '<redacted>'}}"
    }


def test_an_output_that_names_its_schema_in_a_header_is_compared_by_its_rows(
    shop: Shop, tmp_path: Path
) -> None:
    """How a value is written is no part of what it says; nothing needs to be registered."""
    body = 'product.publish(orders.select("id", "n", "note"), contract=1, schema_id="header")\n'
    compared = shop.diff(shop.product(tmp_path / "next", body))
    assert (compared.findings(), compared.ports[None].rows["equal"]) == ([], 100)


def test_inputs_that_name_their_schema_in_a_header_are_compared(shop: Shop, tmp_path: Path) -> None:
    """They are decoded as a run decodes them: on neither side is one refused."""
    contract = load_contract(shop.root / "schemas", "shop.orders", 1)
    held = shop.registry.lookup("shop.orders-value", contract.text)
    assert held is not None
    assert held.guid is not None
    event = pl.DataFrame({"id": ["o"], "n": [7], "note": [None]}, schema=contract.columns)
    encoded = Encoder(contract, None).encode(event)
    for value, key in zip(encoded.values, encoded.keys, strict=True):
        shop.broker.append("shop.orders", value, key=key, headers=guid_header(held.guid))
    body = 'product.publish(orders.select("id", "note", n=pl.col("n") + 1), contract=1)\n'
    compared = shop.diff(shop.product(tmp_path / "next", body))
    assert compared.records == compared.ports[None].rows["changed"] == 101
    assert [each.flag for each in compared.findings()] == ["changed:n"]


def test_several_types_of_events_in_one_topic_are_compared(shop: Shop, tmp_path: Path) -> None:
    """Each by its own contract, as a run reads them."""
    shop.contract("shop.others", ORDER, name="Other")
    body = """\
        product = DataProduct("shop.copies", owner="shop@example.com")
        orders, others = product.stream(
            "shop.orders",
            contracts=[("shop.orders", 1), ("shop.others", 1)],
            subjects="topic",
        )
        product.publish(orders.select("id", "n", note=pl.lit("x")), contract=1)
    """
    compared = shop.diff(shop.product(tmp_path / "next", body))
    assert [each.flag for each in compared.findings()] == ["changed:note"]


def test_only_the_last_records_are_read_when_asked_for(shop: Shop) -> None:
    """So many offsets of each partition."""
    assert shop.diff(shop.root, last=3).records == 6


def test_nothing_to_read_decides_nothing(shop: Shop, tmp_path: Path) -> None:
    """No records prove nothing; no topic is a mistake; no candidate is one too."""
    empty = Shop(tmp_path / "empty")
    with pytest.raises(UnverifiableError, match="There is no record in"):
        empty.diff(empty.root)
    empty.broker = MemoryBroker()
    with pytest.raises(StartRefusedError, match="there is no topic"):
        empty.diff(empty.root)
    with pytest.raises(DeclarationError, match="NO_CANDIDATE"):
        shop.diff(tmp_path / "nowhere")


def test_mistakes_of_the_candidate_are_told_as_those_of_a_product(
    shop: Shop, tmp_path: Path
) -> None:
    """With file and line."""
    path = shop.product(tmp_path / "next", 'product.publish(orders.select("nn"), contract=1)\n')
    with pytest.raises(DeclarationError, match=r"product\.py:5"):
        shop.diff(path)


def first_places(shop: Shop, bound: int) -> dict[Partition, int]:
    """The offset of the first order of each partition whose number is not below the bound."""
    records = shop.broker.visible("shop.orders")
    decoder = Decoder(load_contract(shop.root / "schemas", "shop.orders", 1), shop.registry.schema)
    numbers = decoder.decode([record.value for record in records]).frame["n"]
    found: dict[Partition, int] = {}
    for record, number in zip(records, numbers, strict=True):
        if number >= bound:
            found.setdefault(record.partition, record.offset)
    return found


def test_a_candidate_that_a_rule_stops_differs_at_the_record_where_it_stops(
    shop: Shop, tmp_path: Path
) -> None:
    """Which side it is, the record and the rule; nothing allows it, and the rest is compared."""
    compared = shop.diff(stopping(shop, tmp_path / "next", "n < 90"), "added", "removed", "changed")
    (found,) = compared.beyond()
    assert (found.kind, found.flag) == ("stopped", None)
    places = {place: each.offset for place, each in compared.stops.candidate.items()}
    assert places == first_places(shop, 90)
    partition = min(places)
    assert found.text == (
        f"the candidate stops at {partition}@{places[partition]}, which breaks the rule small of"
        " shop.orders (and in 1 other partition)"
    )
    assert compared.stops.today == {}
    assert compared.ports[None].rows["equal"] == 100


def test_a_stop_of_both_is_no_difference_and_one_that_is_gone_can_be_allowed(
    shop: Shop, tmp_path: Path
) -> None:
    """A release that mends what halts the product of today can pass; one that stops cannot."""
    stopping(shop, shop.root, "n < 90")
    same = shop.diff(stopping(shop, tmp_path / "same", "n < 90"))
    assert (same.findings(), len(same.stops.shared())) == ([], 2)
    mended = stopping(shop, tmp_path / "mended", "n < 90", "warn")
    (found,) = shop.diff(mended).beyond()
    assert found.text.startswith("the candidate goes on where today's definition stops, at shop.")
    assert shop.diff(mended, "added").beyond() == []
    (found,) = shop.diff(stopping(shop, tmp_path / "other", "n < 80"), "added").beyond()
    assert found.text.startswith("the candidate stops at shop.orders[")
    assert "; today's stops at shop.orders[" in found.text


def test_a_rule_of_the_output_stops_like_one_of_the_input(shop: Shop, tmp_path: Path) -> None:
    """It is asked of what the candidate would publish."""
    rules = [{"name": "tiny", "check": "n < 50", "severity": "stop"}]
    shop.contract("shop.orders", ORDER, tmp_path / "next")
    shop.contract("shop.copies", ORDER, tmp_path / "next", rules=rules)
    shop.product(tmp_path / "next", BODY)
    (found,) = shop.diff(tmp_path / "next").beyond()
    assert "which breaks the rule tiny of shop.copies" in found.text


def test_numbers_that_json_does_not_have_are_shown_as_texts(shop: Shop, tmp_path: Path) -> None:
    """Alone and inside of others; NaN is equal to NaN."""
    wild = {"nonFinite": True, "sensitivity": "public"}
    fields = {
        "id": "string",
        "x": {"type": "double", **wild},
        "xs": {"type": {"type": "array", "items": "double"}, **wild},
    }
    body = """\
        nan = pl.lit(float("nan"))
        xs = pl.concat_list(nan, pl.lit({}))
        product.publish(orders.select("id", x=nan, xs=xs), contract=1)
    """
    for root in (shop.root, tmp_path / "next"):
        shop.contract("shop.orders", ORDER, root)
        shop.contract("shop.copies", fields, root)
    shop.product(shop.root, body.format(1.0))
    shop.product(tmp_path / "next", body.format('float("inf")'))
    compared = shop.diff(tmp_path / "next", sample=1)
    assert [each.flag for each in compared.findings()] == ["changed:xs"]
    (row,) = compared.ports[None].sample.rows()
    assert row["columns"] == {"xs": {"today": ["nan", 1.0], "candidate": ["nan", "inf"]}}
    json.dumps(row, allow_nan=False)


def test_maps_of_the_same_entries_are_equal_in_any_order(shop: Shop, tmp_path: Path) -> None:
    """Wherever they are; other entries are a change."""
    inner = {"type": "map", "values": ["null", {"type": "map", "values": "int"}]}
    parts = [{"name": "a", "doc": "D.", "type": "int"}, {"name": "m", "doc": "D.", "type": inner}]
    record = {"type": "record", "name": "Inner", "fields": parts}
    fields = {"id": "string", "m": ["null", inner], "r": {"type": "array", "items": record}}
    body = """\
        def entries(pairs):
            return [{{"key": key, "value": value}} for key, value in pairs]
        def mapped(event):
            low = entries({0})
            high = entries([("x", low), ("y", None)][::{1}])
            whole = high if event["n"] % 3 else None
            return {{"id": event["id"], "m": whole, "r": [{{"a": 1, "m": high}}]}}
        product.publish(orders.map_events(mapped), contract=1)
    """
    for root in (shop.root, tmp_path / "next", tmp_path / "other"):
        shop.contract("shop.orders", ORDER, root)
        shop.contract("shop.copies", fields, root)
    shop.product(shop.root, body.format('[("a", 1), ("b", 2)]', 1))
    shop.product(tmp_path / "next", body.format('[("b", 2), ("a", 1)]', -1))
    shop.product(tmp_path / "other", body.format('[("b", 1), ("a", 2)]', -1))
    compared = shop.diff(tmp_path / "next")
    assert (compared.findings(), compared.ports[None].rows["equal"]) == ([], 100)
    other = shop.diff(tmp_path / "other").ports[None]
    assert (dict(other.columns), other.rows["changed"]) == ({"m": 66, "r": 100}, 100)
