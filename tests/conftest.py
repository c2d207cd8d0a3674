"""What every test may use."""

from pathlib import Path

import pytest
from hypothesis import settings

from headwater.embedded import Addresses

settings.register_profile("headwater", deadline=None)  # a busy machine breaks no law
settings.load_profile("headwater")

pytest_plugins = ["headwater.testing.stack"]


@pytest.fixture(scope="session")
def session_home(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the session's stack, for tests that pause or damage what is in it."""
    return tmp_path_factory.getbasetemp() / "stack0"
