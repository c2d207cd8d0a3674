"""The pytest fixture `stack`: a real Kafka and a real registry, once per test session.

Load it with `pytest_plugins = ["headwater.testing.stack"]` in the top `conftest.py`.
"""

from collections.abc import Iterator

import pytest

from headwater.embedded import Addresses
from headwater.embedded.guard import temporary


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """Addresses of a fresh stack; it ends with the session, however that ends."""
    with temporary(tmp_path_factory.mktemp("stack")) as addresses:
        yield addresses
