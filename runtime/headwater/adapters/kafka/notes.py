"""Notes that stand beside the committed positions of a group."""

from confluent_kafka import TopicPartition


def note_of(position: TopicPartition) -> str:
    """The note of a committed position; empty where there is none, or none of ours.

    Another program may have left bytes that are no text, as Kafka Streams does; ours are JSON.
    """
    try:
        return position.metadata or ""
    except UnicodeDecodeError:
        return ""
