"""Two definitions that join a table, whole or by its partitions: both find the same rows."""

from pathlib import Path

import polars as pl
import pytest
from tests.diff.shop import Shop

from headwater.contract import Encoder, load_contract
from headwater.errors import StartRefusedError
from headwater.ports import TopicSettings

BODY = """\
notes = product.table("shop.notes", contract=1, broadcast=WHOLE)
found = orders.select("id", "n")
joined = found.join(notes, on="id", columns={"text": "note"}, how="HOW")
product.publish(joined, contract=1)
"""


def body(how: str, *, whole: bool = True) -> str:
    """A definition with this kind of join."""
    return BODY.replace("HOW", how).replace("WHOLE", str(whole))


@pytest.fixture
def joining(shop: Shop) -> Shop:
    """Half of the orders' ids have a note in the table; one of them was ended."""
    shop.contract("shop.notes", {"id": "string", "text": ["null", "string"]})
    shop.broker.create(TopicSettings("shop.notes", 2, "table"))
    contract = load_contract(shop.root / "schemas", "shop.notes", 1)
    held = shop.registry.register("shop.notes-value", contract.text, compatibility="NONE")
    ids = [f"o{n}" for n in range(20)]
    frame = pl.DataFrame({"id": ids, "text": [each.upper() for each in ids]})
    encoded = Encoder(contract, held.schema_id).encode(frame.with_row_index("_row"))
    for key, value in zip(encoded.keys, encoded.values, strict=True):
        shop.broker.append("shop.notes", value, key=key)
    shop.broker.append("shop.notes", None, key=b"o0")
    shop.product(shop.root, body("left"))
    return shop


@pytest.mark.parametrize("whole", [True, False], ids=["broadcast", "co-partitioned"])
def test_the_tables_are_read_before_the_first_record(
    joining: Shop, tmp_path: Path, whole: bool
) -> None:
    """The same definition is equal; an inner join takes away what found nothing."""
    joining.product(joining.root, body("left", whole=whole))
    same = joining.diff(joining.product(tmp_path / "same", body("left"), "lone"))
    assert same.findings() == []
    inner = joining.diff(joining.product(tmp_path / "in", body("inner", whole=whole), "lone"))
    rows = inner.ports[None].rows
    kept = sum(1 for n in range(100) if 1 <= n % 40 < 20)
    assert rows["equal"] == kept
    assert rows["removed"] == 100 - kept


def test_a_table_that_is_not_compacted_refuses_the_comparison(
    joining: Shop, tmp_path: Path
) -> None:
    """As it refuses a run."""
    joining.broker.create(TopicSettings("shop.notes", 2, "log"))
    with pytest.raises(StartRefusedError) as caught:
        joining.diff(joining.product(tmp_path / "same", body("left"), "lone"))
    assert caught.value.code == "TABLE_NOT_COMPACTED"
