"""What tests of damage begin with."""

from pathlib import Path

import pytest
from tests.snapshot.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A verified snapshot, for others to meddle with."""
    lake = Lake(tmp_path / "orders")
    assert lake.verify().outcome == "equal"
    return lake
