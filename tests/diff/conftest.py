"""A shop for each test."""

from pathlib import Path

import pytest
from tests.diff.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop with a hundred orders."""
    shop = Shop(tmp_path / "today")
    shop.feed([{"id": f"o{n % 40}", "n": n, "note": None} for n in range(100)])
    return shop
