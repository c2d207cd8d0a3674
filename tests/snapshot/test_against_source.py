"""`verify --against-source`: a log beside what its inputs make, over logs in memory."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from tests.diff.shop import ORDER, Shop

from headwater.adapters.memory import MemoryRangeReader, MemoryTopics
from headwater.assembly.diff.side import Outside
from headwater.assembly.project import load_product
from headwater.assembly.recomputation import Recomputation, SourceVerdict
from headwater.contract import Encoder, load_contract
from headwater.errors import UnverifiableError
from headwater.model import Partition
from headwater.ports import TopicSettings

NAME = "shop.copies"
BODY = """\
    product.publish(orders.filter(pl.col("n") >= 10).select("id", "n", "note"), contract=1)
"""


class Published(Shop):
    """A shop whose product has run: ten of a hundred orders were filtered away."""

    def __init__(self, root: Path, body: str = BODY) -> None:
        super().__init__(root)
        self.product(root, body)
        self.broker.create(TopicSettings(NAME, 2, "log"))
        self.feed([{"id": f"o{n % 40}", "n": n, "note": None} for n in range(100)])
        contract = load_contract(root / "schemas", NAME, 1)
        held = self.registry.register(f"{NAME}-value", contract.text, compatibility="NONE")
        self.encoder = Encoder(contract, held.schema_id)
        self.publish(range(10, 100))
        self.commit()

    def publish(self, numbers: Sequence[int], note: str | None = None) -> None:
        """Rows into the log, as the product makes them."""
        rows = {"id": [f"o{n % 40}" for n in numbers], "n": list(numbers)}
        types = {"id": pl.String, "n": pl.Int32, "note": pl.String}
        frame = pl.DataFrame({**rows, "note": [note] * len(numbers)}, schema=types)
        encoded = self.encoder.encode(frame)
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            self.broker.append(NAME, value, key=key)

    def commit(self) -> None:
        """The product stands at the end of its input."""
        ends = MemoryTopics(self.broker).ends("shop.orders")
        self.broker.group(NAME).offsets.update({p: (end, "") for p, end in ends.items()})

    def recomputed(self) -> SourceVerdict:
        """What comes of it."""
        outside = Outside(MemoryTopics(self.broker), MemoryRangeReader(self.broker), self.registry)
        loaded = load_product(NAME, self.root)
        (verdict,) = Recomputation(loaded, outside).run(lambda _done, _total: None)
        return verdict


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """Equal so far."""
    made = Published(tmp_path / "today")
    assert made.recomputed().outcome == "equal"
    return made


def test_each_row_must_be_there_as_often_as_it_is_made(published: Published) -> None:
    """Wherever in the log it stands; twice the same is two rows."""
    verdict = published.recomputed()
    assert (verdict.recomputed, verdict.logged, verdict.unchecked) == (90, 90, 0)
    published.feed([{"id": "o10", "n": 50, "note": None}] * 2)
    published.commit()
    published.publish([50])
    assert published.recomputed().difference_count == 1
    published.publish([50])
    assert published.recomputed().outcome == "equal"


def test_input_behind_the_committed_position_is_not_asked_for(published: Published) -> None:
    """What the product has not processed yet is missing nowhere."""
    published.feed([{"id": "o1", "n": 500, "note": None}])
    assert published.recomputed().outcome == "equal"
    published.commit()
    verdict = published.recomputed()
    assert (verdict.outcome, verdict.difference_count) == ("different", 1)
    (line,) = verdict.differences
    assert line.startswith("shop.orders[")
    assert "makes a row that is not in the log" in line


def test_a_row_that_nothing_makes_is_named_by_place_and_hash_of_its_key(
    published: Published,
) -> None:
    """Never by what stands in it."""
    place = MemoryTopics(published.broker).ends(NAME)
    published.publish([7_654_321], note="canary")
    verdict = published.recomputed()
    (line,) = verdict.differences
    where = {f"{partition}@{end}" for partition, end in place.items()}
    assert line.split(" ")[0] in where
    assert "made of no record of the inputs" in line
    assert "canary" not in line
    assert "7654321" not in line


def test_another_value_of_a_key_is_one_difference(tmp_path: Path) -> None:
    """As today's definition makes it, and not two of which each is half."""
    published = Published(tmp_path / "today")
    published.product(
        published.root,
        BODY.replace(
            '.select("id", "n", "note")',
            '.with_columns(n=pl.when(pl.col("n") == 77).then(78).otherwise(pl.col("n")))'
            '.select("id", "n", "note")',
        ),
    )
    (line,) = published.recomputed().differences
    assert "is not what the inputs make of this key" in line


def test_rows_of_records_that_are_gone_are_counted_and_the_others_compared(
    published: Published,
) -> None:
    """Retention took inputs: what is left must still be in the log."""
    published.broker.partition(Partition("shop.orders", 0)).truncate(20)
    verdict = published.recomputed()
    assert verdict.outcome == "unverifiable"
    assert verdict.unchecked == verdict.logged - verdict.recomputed > 0
    assert "shop.orders[0] begins at 20" in verdict.undecided[0]
    published.feed([{"id": "o1", "n": 500, "note": None}])
    published.commit()
    assert published.recomputed().outcome == "different"


def test_what_has_left_the_log_is_counted_too(published: Published) -> None:
    """And where neither side is whole, nothing can be said."""
    published.broker.partition(Partition(NAME, 0)).truncate(5)
    verdict = published.recomputed()
    assert (verdict.outcome, verdict.unchecked) == ("unverifiable", 5)
    published.broker.partition(Partition("shop.orders", 0)).truncate(20)
    with pytest.raises(UnverifiableError, match=r"recomputed: .* begins at 20") as refused:
        published.recomputed()
    assert refused.value.code == "NOT_RECOMPUTABLE"


JOIN = """\
orders.join(product.stream("shop.others", contract=1), within="1h", columns={"note": "other"})\
"""
TABLE = """\
orders.join(product.table("shop.stock", contract=1, broadcast=True), on="id", columns={"n": "m"})\
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (TABLE, "join-1 of shop.copies joins shop.stock, and what that held when a record came"),
        (JOIN, "join-1 of shop.copies joins shop.others, and how the records of two topics"),
        (
            'orders.rekey("note").latest("note", by="n")',
            "change their key and go through shop.copies.rekey-1.repartition",
        ),
        (
            'product.stream("shop.others", contract=1, start="latest")',
            "reads shop.others from another place than the beginning",
        ),
    ],
    ids=["table", "stream", "another key", "another start"],
)
def test_a_product_whose_results_hang_on_more_is_refused(
    body: str, reason: str, tmp_path: Path
) -> None:
    """By class, in one sentence that names the step."""
    published = Published(tmp_path / "today")
    at = {"type": "long", "logicalType": "timestamp-millis"}
    for topic in ("shop.orders", "shop.others", "shop.stock"):
        published.contract(topic, {**ORDER, "at": at}, eventTime="at")
    flow = f"{body.strip()}.select('id', 'n', 'note')"
    published.product(published.root, f"product.publish({flow}, contract=1)")
    with pytest.raises(UnverifiableError, match=reason) as refused:
        published.recomputed()
    assert refused.value.code == "NOT_RECOMPUTABLE"


def test_a_product_that_never_ran_is_refused(tmp_path: Path) -> None:
    """Its log is not to be empty either."""
    published = Published(tmp_path / "today")
    published.broker.group(NAME).offsets.clear()
    with pytest.raises(UnverifiableError, match="has committed no position"):
        published.recomputed()


def test_a_product_that_goes_on_meanwhile_is_told(published: Published) -> None:
    """Its log and its position would be of different moments."""
    outside = Outside(
        MemoryTopics(published.broker), MemoryRangeReader(published.broker), published.registry
    )
    published.feed([{"id": "o1", "n": 500, "note": None}])

    def moved(_done: int, _total: int) -> None:
        published.commit()

    with pytest.raises(UnverifiableError) as refused:
        Recomputation(load_product(NAME, published.root), outside).run(moved)
    assert refused.value.code == "PRODUCT_MOVED"
