"""The schema registry as we need it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from headwater.model import SchemaRef


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as the registry holds it: `schema` is Avro JSON text.

    `guid` is None where the registry gives none.
    """

    schema_id: int
    schema: str
    subject: str | None = None
    version: int | None = None
    guid: UUID | None = None


class Registry(Protocol):
    """Every call is bounded. Raises UnavailableError when the registry does not answer well."""

    def schema(self, reference: SchemaRef) -> str:
        """The Avro JSON text of an id or GUID; cached for ever.

        Raises UnknownSchemaError on a definite 404, and for any GUID where there are none.
        """
        ...

    def subjects(self, schema_id: int) -> frozenset[str]:
        """The subjects this id is registered under; empty when there is no such id.

        Asked anew each time: a schema may be registered under another subject later.
        """
        ...

    def register(self, subject: str, schema: str, *, compatibility: str) -> RegisteredSchema:
        """Publish under the subject with its compatibility set; idempotent for an equal schema.

        Raises RegistrationRefusedError with the registry's reasons.
        """
        ...

    def lookup(self, subject: str, schema: str) -> RegisteredSchema | None:
        """The registered copy of exactly this schema under the subject; None when there is none."""
        ...

    def latest(self, subject: str) -> RegisteredSchema | None:
        """The newest version of the subject; None when there is none."""
        ...

    def versions(self, subject: str) -> Sequence[RegisteredSchema]:
        """Every version of the subject, oldest first; empty when there is none."""
        ...

    def compatibility(self, subject: str) -> str:
        """The mode in force for the subject: its own, else the registry's default."""
        ...
