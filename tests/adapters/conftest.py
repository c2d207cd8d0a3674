"""The two brokers that obey the laws."""

from collections.abc import Iterator

import pytest
from tests.adapters.outside import Outside

from headwater.adapters.kafka.consumer import KafkaSource
from headwater.adapters.kafka.producer import KafkaTransactionalLog
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.memory import (
    MemoryBroker,
    MemorySource,
    MemoryTopics,
    MemoryTransactionalLog,
)
from headwater.embedded import Addresses


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def outside(request: pytest.FixtureRequest) -> Iterator[Outside]:
    """The two brokers that obey the laws."""
    if request.param == "memory":
        broker = MemoryBroker()
        found = Outside(
            MemoryTopics(broker),
            lambda group, member: MemorySource(broker, group=group, member=member),
            lambda name: MemoryTransactionalLog(broker, transactional_id=name),
        )
    else:
        addresses: Addresses = request.getfixturevalue("stack")
        config = {"bootstrap.servers": addresses.kafka}
        found = Outside(
            KafkaTopics(config),
            lambda group, member: KafkaSource(config, group=group, member=member),
            lambda name: KafkaTransactionalLog(config, transactional_id=name),
        )
    yield found
    for client in found.opened:
        client.close()
