"""What stands beside committed positions."""

from confluent_kafka import TopicPartition

from headwater.adapters.kafka.notes import note_of


class Foreign(TopicPartition):
    """A position that a program like Kafka Streams committed."""

    @property
    def metadata(self) -> str:  # type: ignore[override]  # the client's own is read only once set
        """As the client decodes it, on access."""
        return b"\x02\x97".decode()


def test_a_note_is_what_was_committed_and_empty_where_there_is_none() -> None:
    """No note is an empty one."""
    assert note_of(TopicPartition("t", 0, 5, metadata='{"a": 1}')) == '{"a": 1}'
    assert note_of(TopicPartition("t", 0, 5)) == ""


def test_bytes_of_another_program_are_no_note() -> None:
    """Kafka Streams commits some that are no text; they told nothing but ended the process."""
    assert note_of(Foreign("t", 0, 5)) == ""
