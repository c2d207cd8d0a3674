"""A project whose two definitions are compared over a log in memory."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import polars as pl

from headwater.adapters.memory import MemoryBroker, MemoryRangeReader, MemoryTopics
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.diff.comparison import Compared, Comparison, DiffOptions, load_candidate
from headwater.assembly.diff.side import Outside
from headwater.assembly.diff.tally import Allowance
from headwater.assembly.project import load_product
from headwater.contract import Encoder, load_contract
from headwater.ports import TopicSettings

ORDER: dict[str, Any] = {"id": "string", "n": "int", "note": ["null", "string"]}
BODY = 'product.publish(orders.select("id", "n", "note"), contract=1)\n'


class Shop:
    """A project whose product `shop.copies` reads the orders of a log in memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.broker = MemoryBroker()
        self.registry = MemoryRegistry()
        self.broker.create(TopicSettings("shop.orders", 2, "log"))
        for topic in ("shop.orders", "shop.copies"):
            self.contract(topic, ORDER)
        self.product(self.root, BODY)

    def contract(
        self, topic: str, fields: Mapping[str, Any], root: Path | None = None, **more: Any
    ) -> None:
        """A contract, keyed by `id` unless told otherwise."""
        listed = [
            {"name": name, "doc": "D.", **(each if "sensitivity" in each else {"type": each})}
            for name, each in fields.items()
        ]
        schema = {"type": "record", "name": "Event", "key": "id", "fields": listed, **more}
        folder = (root or self.root).joinpath("schemas", *topic.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "v1.avsc").write_text(json.dumps(schema))

    def product(self, root: Path, body: str, folder: str = "products/shop/copies") -> Path:
        """A definition of the product; its helper `rules.py` stands beside it."""
        head = """\
            import polars as pl
            from headwater import DataProduct
            product = DataProduct("shop.copies", owner="shop@example.com")
            orders = product.stream("shop.orders", contract=1)
        """
        path = root / folder / "product.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(head) + dedent(body))
        return path

    def feed(self, events: Sequence[Mapping[str, Any] | bytes]) -> None:
        """Orders into the log, in the order given."""
        contract = load_contract(self.root / "schemas", "shop.orders", 1)
        held = self.registry.register("shop.orders-value", contract.text, compatibility="NONE")
        encoder = Encoder(contract, held.schema_id)
        for event in events:
            if isinstance(event, bytes):
                self.broker.append("shop.orders", event, key=b"bad")
                continue
            columns = {name: [event.get(name)] for name in contract.columns}
            encoded = encoder.encode(pl.DataFrame(columns))
            self.broker.append("shop.orders", encoded.values[0], key=encoded.keys[0])

    def diff(self, candidate: Path, *allow: str, **options: Any) -> Compared:
        """Today's definition and a candidate, compared."""
        today = load_product("shop.copies", self.root)
        outside = Outside(MemoryTopics(self.broker), MemoryRangeReader(self.broker), self.registry)
        chosen = DiffOptions(Allowance.parse(allow), **options)
        other = load_candidate(candidate, today)
        return Comparison(today, other, outside).run(chosen, lambda done, total: None)


def stopping(shop: Shop, root: Path, rule: str, severity: str = "stop") -> Path:
    """A checkout whose orders have a rule."""
    rules = [{"name": "small", "check": rule, "severity": severity}]
    shop.contract("shop.orders", ORDER, root, rules=rules)
    shop.contract("shop.copies", ORDER, root)
    shop.product(root, BODY)
    return root
