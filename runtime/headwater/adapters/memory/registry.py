"""A schema registry in memory that obeys the laws of the real one."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import NAMESPACE_OID, UUID, uuid5

from headwater.errors import RegistrationRefusedError, UnknownSchemaError
from headwater.model import SchemaRef
from headwater.ports.registry import RegisteredSchema

DEFAULT_MODE: Final = "NONE"  # as Apicurio's


class MemoryRegistry:
    """The `Registry` port in memory.

    It judges by added, removed and retyped fields only, and every mode but NONE as FULL_TRANSITIVE:
    the rest is the real registry's business. Ids are shared by equal schemas, as everywhere.
    """

    def __init__(self) -> None:
        self._schemas: list[str] = []
        self._subjects: dict[str, list[RegisteredSchema]] = {}
        self._modes: dict[str, str] = {}

    def schema(self, reference: SchemaRef) -> str:
        """The Avro JSON text of an id or GUID. Raises UnknownSchemaError when there is none."""
        for place, text in enumerate(self._schemas, start=1):
            if reference in {place, _guid(text)}:
                return text
        raise UnknownSchemaError(f"The registry in memory has no schema {reference}.")

    def subjects(self, schema_id: int) -> frozenset[str]:
        """The subjects this id is registered under; empty when there is no such id."""
        return frozenset(
            subject
            for subject, versions in self._subjects.items()
            if any(each.schema_id == schema_id for each in versions)
        )

    def register(self, subject: str, schema: str, *, compatibility: str) -> RegisteredSchema:
        """Publish under the subject; idempotent for an equal schema.

        Raises RegistrationRefusedError with the reasons.
        """
        self._modes[subject] = compatibility
        known = self.lookup(subject, schema)
        if known is not None:
            return known
        versions = self._subjects.get(subject, [])
        reasons = [reason for old in versions for reason in _breaks(old.schema, schema)]
        if reasons and compatibility != "NONE":
            raise RegistrationRefusedError(
                f"The registry in memory refuses the schema of {subject}: {'; '.join(reasons)}."
            )
        registered = RegisteredSchema(
            self._id(schema), schema, subject, len(versions) + 1, _guid(schema)
        )
        self._subjects[subject] = [*versions, registered]
        return registered

    def lookup(self, subject: str, schema: str) -> RegisteredSchema | None:
        """The registered copy of exactly this schema under the subject; None when there is none."""
        wanted = json.loads(schema)
        for registered in self._subjects.get(subject, []):
            if json.loads(registered.schema) == wanted:
                return registered
        return None

    def latest(self, subject: str) -> RegisteredSchema | None:
        """The newest version of the subject; None when there is none."""
        return self._subjects.get(subject, [None])[-1]

    def versions(self, subject: str) -> Sequence[RegisteredSchema]:
        """Every version of the subject, oldest first; empty when there is none."""
        return tuple(self._subjects.get(subject, ()))

    def compatibility(self, subject: str) -> str:
        """The mode in force for the subject."""
        return self._modes.get(subject, DEFAULT_MODE)

    def _id(self, schema: str) -> int:
        if schema not in self._schemas:
            self._schemas.append(schema)
        return self._schemas.index(schema) + 1


def _guid(schema: str) -> UUID:
    return uuid5(NAMESPACE_OID, schema)


def _breaks(old: str, new: str) -> Iterator[str]:
    """Why readers and writers of the two schemas do not understand each other, either way."""
    before, after = _fields(old), _fields(new)
    for name in before.keys() | after.keys():
        one, other = before.get(name), after.get(name)
        if one is not None and other is not None:
            if one["type"] != other["type"]:
                yield f"field {name} changes its type"
        elif "default" not in (one or other or {}):
            yield f"field {name} comes or goes without a default"


def _fields(schema: str) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in json.loads(schema).get("fields", [])}
