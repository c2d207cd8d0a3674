"""A project in a temporary folder, to be written wrong in every way."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest


class Project:
    """Writes contracts, products and samples below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.contract("shop.orders")

    def contract(
        self, topic: str, fields: Mapping[str, Any] | None = None, version: int = 1, **more: Any
    ) -> Path:
        """A contract with these fields, by default a key, a number and an optional note."""
        given = fields or {"id": "string", "n": "int", "note": ["null", "string"]}
        written = [
            {"name": name, "type": kind, "doc": f"The {name}."}
            | ({"default": None} if isinstance(kind, list) else {})
            for name, kind in given.items()
        ]
        schema = {"type": "record", "name": "Event", "doc": "One.", "key": "id", "fields": written}
        folder = self.root.joinpath("schemas", *topic.replace("-", "_").split("."))
        return self._write(folder / f"v{version}.avsc", json.dumps(schema | more, indent=1))

    def product(self, name: str, body: str) -> Path:
        """A product.py: imports, then `product`, then `body`."""
        head = f"""\
            import polars as pl
            from pydantic import BaseModel
            from headwater import DataProduct
            product = DataProduct("{name}", owner="shop@example.com")
        """
        folder = self.root.joinpath("products", *name.replace("-", "_").split("."))
        return self._write(folder / "product.py", dedent(head) + dedent(body))

    def passing(self, name: str, source: str = "shop.orders") -> Path:
        """A product that publishes its input as it is, with its contract."""
        self.contract(name)
        return self.product(
            name, f'product.publish(product.stream("{source}", contract=1), contract=1)\n'
        )

    def sample(self, product: str, file: str, events: Sequence[Any]) -> Path:
        """A file of samples, one JSON value per line."""
        folder = self.root.joinpath("products", *product.replace("-", "_").split("."), "samples")
        return self._write(folder / file, "".join(f"{json.dumps(event)}\n" for event in events))

    def _write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project, which is also the current directory."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)
