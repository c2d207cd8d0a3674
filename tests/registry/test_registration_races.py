"""Processes that register the same contract at the same time, on the real registry."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from uuid import uuid4

import pytest
from tests.registry.test_registry_laws import ID, record

from headwater.adapters.registry import SchemaRegistry
from headwater.embedded import Addresses

pytestmark = pytest.mark.kafka

PROCESSES = 4
SUBJECTS = 25  # many a first one is refused to somebody where nobody looks again


def test_whoever_registers_at_the_same_time_gets_the_same_version(stack: Addresses) -> None:
    """The workers of a new product start together, and none of them is refused."""
    subjects = [f"race.{uuid4().hex}-value" for _ in range(SUBJECTS)]
    together = Barrier(PROCESSES)

    def register(_: int) -> Sequence[tuple[int, int | None]]:
        with closing(SchemaRegistry({"url": stack.registry})) as registry:
            found: list[tuple[int, int | None]] = []
            for subject in subjects:
                together.wait(60)
                made = registry.register(subject, record(ID), compatibility="FULL_TRANSITIVE")
                found.append((made.schema_id, made.version))
            return found

    with ThreadPoolExecutor(PROCESSES) as pool:
        first, *others = pool.map(register, range(PROCESSES))
    assert all(other == first for other in others)
    assert {version for _, version in first} == {1}
