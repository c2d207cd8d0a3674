"""What tests on the real broker begin with."""

from pathlib import Path

import pytest
from tests.products.trial import Trial

from headwater.config import load_settings
from headwater.embedded import Addresses


@pytest.fixture
def trial(stack: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A project on the session's broker; nothing is declared and nothing fed yet."""
    monkeypatch.setenv("HEADWATER_KAFKA", stack.kafka)
    monkeypatch.setenv("HEADWATER_REGISTRY", stack.registry)
    monkeypatch.setenv("HEADWATER_ENVIRONMENT", "dev")
    monkeypatch.chdir(tmp_path)
    return Trial(tmp_path, load_settings(), monkeypatch)
