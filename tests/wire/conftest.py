"""A project in a temporary folder beside the broker and the registry of the session."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.wire.airport import Airport
from tests.wire.guid_registry import GuidRegistry

from headwater.embedded import Addresses


@pytest.fixture
def airport(stack: Addresses, tmp_path: Path) -> Iterator[Airport]:
    """Topics, contracts and products of this test alone."""
    with closing(Airport(stack, tmp_path)) as airport:
        yield airport


@pytest.fixture
def guids(stack: Addresses) -> Iterator[GuidRegistry]:
    """The same registry, with GUIDs."""
    with GuidRegistry(stack.registry) as registry:
        yield registry
