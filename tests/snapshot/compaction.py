"""A topic of a real broker that is compacted within seconds."""

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs export one of them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

SET = AlterConfigOpType.SET


def compact(topic: str, kafka: str) -> None:
    """Have the broker compact the log, within seconds."""
    found = ConfigResource(ConfigResource.Type.TOPIC, topic)
    for name, value in (
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
    ):
        found.add_incremental_config(ConfigEntry(name, value, incremental_operation=SET))
    admin = AdminClient({"bootstrap.servers": kafka})
    (number,) = admin.list_topics(timeout=20).brokers
    broker = ConfigResource(ConfigResource.Type.BROKER, str(number))
    # the cleaner sleeps 15 s by default; the other tests do not mind that it sleeps less
    broker.add_incremental_config(
        ConfigEntry("log.cleaner.backoff.ms", "200", incremental_operation=SET)
    )
    for resource in (found, broker):
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(20)
