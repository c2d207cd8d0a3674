"""What every test may use."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from headwater.embedded import Addresses

settings.register_profile("headwater", deadline=None)  # a busy machine breaks no law
settings.load_profile("headwater")

pytest_plugins = ["headwater.testing.stack"]


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """A shell starts what runs in its background with Ctrl-C ignored, for all its children too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where no bytecode is kept, each of some hundred processes would compile all code again."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.dont_write_bytecode:
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


@pytest.fixture(scope="session")
def session_home(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the session's stack, for tests that pause or damage what is in it."""
    return tmp_path_factory.getbasetemp() / "stack0"
