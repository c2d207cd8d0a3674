"""The schemas that records of one input may be written with.

An id leads to a schema wherever it is registered. That a topic's own writers registered it is told
by its subject: a record of another topic's schema is one that strayed.
"""

from typing import Final

from headwater.contract import record_name
from headwater.errors import UnknownSchemaError
from headwater.model import Code, SchemaRef
from headwater.ports import Registry
from headwater.product import Stream, Subjects


def subject_of(topic: str, subjects: Subjects, type_name: str | None) -> str | None:
    """The subject of a type of record in a topic; None for a schema without a name."""
    match subjects:
        case "topic":
            return f"{topic}-value"
        case "record":
            return type_name
        case "topic-record":
            return None if type_name is None else f"{topic}-{type_name}"


class TopicSchemas:
    """Looks schemas up for the records of a stream's topic, by id or GUID.

    One more call to the registry for each schema, never for each record.
    """

    def __init__(self, registry: Registry, stream: Stream) -> None:
        self._registry = registry
        self._topic: Final = stream.topic
        self._subjects: Final = stream.subjects
        self._admitted: set[SchemaRef] = set()

    def schema(self, reference: SchemaRef) -> str:
        """The Avro JSON text of an id or GUID.

        Raises UnknownSchemaError on a definite no: with the code SCHEMA_SUBJECT_MISMATCH when it
        is registered under no subject of this topic. Raises UnavailableError.
        """
        text = self._registry.schema(reference)
        if reference not in self._admitted:
            subject = subject_of(self._topic, self._subjects, record_name(text))
            if subject is None or not self._is_registered(reference, text, subject):
                raise UnknownSchemaError(
                    f"schema {reference} is not registered as {subject}, under which records of "
                    f"{self._topic} have their schemas",
                    code=Code.SCHEMA_SUBJECT_MISMATCH,
                )
            self._admitted.add(reference)
        return text

    def _is_registered(self, reference: SchemaRef, text: str, subject: str) -> bool:
        if isinstance(reference, int):
            return subject in self._registry.subjects(reference)
        return self._registry.lookup(subject, text) is not None
