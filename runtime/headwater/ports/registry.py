"""The schema registry as we need it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as the registry holds it: `schema` is Avro JSON text."""

    schema_id: int
    schema: str
    subject: str | None = None
    version: int | None = None


class Registry(Protocol):
    """Every call is bounded. Raises UnavailableError when the registry does not answer well."""

    def schema(self, schema_id: int) -> str:
        """The Avro JSON text of an id; cached for ever.

        Raises UnknownSchemaError on a definite 404.
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
