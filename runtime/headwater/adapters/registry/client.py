"""The `Registry` port over a Confluent-compatible schema registry.

Only a registry's own "no such schema" counts as a no: a 404 without the registry's error code comes
from a wrong address or a proxy, and waits like every other bad answer. So does an answer that is
no answer: what comes from here ends in frames and in the names of files.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from confluent_kafka.schema_registry import RegisteredSchema as ForeignSchema
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from headwater.errors import (
    ConfigurationError,
    Problem,
    RegistrationRefusedError,
    UnavailableError,
    UnknownSchemaError,
)
from headwater.model import SchemaRef
from headwater.ports.registry import RegisteredSchema

DEFAULTS: Final[Mapping[str, float]] = {
    "timeout": 2.0,  # seconds per try; the client's default waits for ever
    "max.retries": 1,  # the caller knows better how long to go on
    "retries.wait.ms": 100,
    "retries.max.wait.ms": 500,
    "cache.latest.ttl.sec": 0,  # the client would repeat its first "newest version" for ever
}
"""Defaults that keep every call below about 5 s; client properties may change them."""

NUMBERS: Final = frozenset({*DEFAULTS, "cache.capacity", "cache.latest.ttl.sec"})
"""Client properties that are numbers; settings arrive as text."""

_ABSENT: Final = (40401, 40402, 40403, 40408)
"""No such subject, version, schema; no mode of the subject's own.

A tuple: the code of an error is whatever its sender wrote, a list too, which no set can look for.
"""
_REFUSED: Final = frozenset(
    {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
)  # incompatible; not a schema

IDS: Final = range(1 << 31)  # four bytes in a frame, and an int in Java
VERSIONS: Final = range(1, 1 << 31)

JAVA_CLASS: Final = re.compile(
    r"^(\w+\.)+\w+: "
)  # Apicurio begins a refusal with an exception's name

Answer = TypeVar("Answer")
Item = TypeVar("Item", int, str)


class _NoPageError(UnavailableError):
    """A 404 without the registry's own error code: whoever answers has no such page."""


class SchemaRegistry:
    """A schema registry at `config["url"]`; further client properties pass through.

    Every call ends within about 5 s and raises UnavailableError, naming the address, for anything
    but a definite answer. Raises ConfigurationError for properties the client does not know.
    """

    def __init__(self, config: Mapping[str, str]) -> None:
        self._address = _without_credentials(config.get("url", "an unknown address"))
        self._schemas: dict[SchemaRef, str] = {}
        properties: dict[str, Any] = {**DEFAULTS, **config}
        try:
            for name in NUMBERS & properties.keys():
                properties[name] = float(properties[name])
            self._client = SchemaRegistryClient(properties)
        except (ValueError, TypeError, OSError) as error:
            message = f"the schema registry's client refuses its settings: {error}"
            raise ConfigurationError([Problem("REGISTRY_SETTINGS", message)]) from error

    def schema(self, reference: SchemaRef) -> str:
        """The Avro JSON text of an id or GUID, cached for ever. Raises UnknownSchemaError on a no.

        A registry that gives its schemas no GUIDs has none of this one, and the error says so.
        """
        if reference not in self._schemas:
            if isinstance(reference, UUID):
                found = self._of_guid(str(reference))
            else:
                found = self._ask(lambda: self._client.get_schema(reference))
            if found is None:
                raise UnknownSchemaError(
                    f"The schema registry at {self._address} has no schema {reference}."
                )
            self._schemas[reference] = self._schema_text(found)
        return self._schemas[reference]

    def subjects(self, schema_id: int) -> frozenset[str]:
        """The subjects this id is registered under; empty when there is no such id."""
        found = self._ask(lambda: self._client.get_subjects_by_schema_id(schema_id))
        return frozenset(self._listed(found, str))

    def register(self, subject: str, schema: str, *, compatibility: str) -> RegisteredSchema:
        """Publish under the subject with its compatibility set; idempotent for an equal schema.

        Raises RegistrationRefusedError with the registry's reasons.
        """
        foreign = Schema(schema, "AVRO")
        # Before the first version: a registry's default may be NONE, which takes anything.
        # Workers of a new product come at the same time, and Apicurio answers all but one of them
        # that there is such a rule or such a schema now: so it is set again, and looked for below.
        try:
            self._ask(lambda: self._client.set_compatibility(subject, compatibility), subject)
        except RegistrationRefusedError:
            self._ask(lambda: self._client.set_compatibility(subject, compatibility), subject)
        try:
            self._ask(lambda: self._client.register_schema(subject, foreign), subject)
        except RegistrationRefusedError:
            if self.lookup(subject, schema) is None:
                raise
        registered = self.lookup(subject, schema)
        if registered is None:
            raise self._unavailable(f"it took a schema for {subject} and does not know it")
        return registered

    def lookup(self, subject: str, schema: str) -> RegisteredSchema | None:
        """The registered copy of exactly this schema under the subject; None when there is none."""
        foreign = Schema(schema, "AVRO")
        try:
            found = self._ask(lambda: self._client.lookup_schema(subject, foreign), subject)
        except RegistrationRefusedError:
            return None  # what the registry takes for no schema is not registered
        return None if found is None else self._registered(found)

    def latest(self, subject: str) -> RegisteredSchema | None:
        """The newest version of the subject; None when there is none."""
        found = self._ask(lambda: self._client.get_latest_version(subject))
        return None if found is None else self._registered(found)

    def versions(self, subject: str) -> Sequence[RegisteredSchema]:
        """Every version of the subject, oldest first; empty when there is none."""
        numbers = self._ask(lambda: self._client.get_versions(subject))
        found = [self._version(subject, each) for each in sorted(self._listed(numbers, int))]
        return [each for each in found if each is not None]

    def compatibility(self, subject: str) -> str:
        """The mode in force for the subject: its own, else the registry's default."""
        found = self._ask(lambda: self._client.get_compatibility(subject))
        if found is None:
            found = self._ask(self._client.get_compatibility)
        return self._text(found, "a mode")

    def _version(self, subject: str, number: int) -> RegisteredSchema | None:
        found = self._ask(lambda: self._client.get_version(subject, number))
        registered = None if found is None else self._registered(found)
        if registered is not None and registered.version != number:
            raise self._nonsense("another version than it was asked for")
        return registered

    def _of_guid(self, guid: str) -> Schema | None:
        """The schema of a GUID; None when there is none.

        A registry that knows no GUIDs has no page for them, and neither has a proxy before one that
        does; only what the registry says of its own schemas tells the two apart.
        """
        try:
            return self._ask(lambda: self._client.get_schema_by_guid(guid))
        except _NoPageError as error:
            if self._may_have_guids():
                reason = "HTTP 404 for a GUID, not in the registry's words: no page for GUIDs"
                raise self._unavailable(reason) from error
            raise UnknownSchemaError(
                f"The schema registry at {self._address} gives its schemas no GUIDs, hence has none"
                f" of {guid}; name schemas by ids, or use a registry that gives GUIDs."
            ) from error

    def _may_have_guids(self) -> bool:
        """Whether a schema of the registry has a GUID, or there is none to tell by."""
        subjects = self._listed(self._ask(lambda: self._client.get_subjects(limit=1)), str)
        newest = self.latest(subjects[0]) if subjects else None
        return newest is None or newest.guid is not None

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _ask(self, call: Callable[[], Answer], subject: str = "") -> Answer | None:
        """The registry's answer; None when it says there is no such thing."""
        try:
            return call()
        except SchemaRegistryError as error:
            if subject and error.http_status_code in _REFUSED:
                raise self._refused(subject, error) from error
            reason = f"HTTP {error.http_status_code}"
            if error.http_status_code != HTTPStatus.NOT_FOUND:
                raise self._unavailable(reason) from error
            if error.error_code in _ABSENT:
                return None
            raise self._unavailable(reason, _NoPageError) from error
        except Exception as error:  # whatever its HTTP or JSON library raised
            raise self._unavailable(type(error).__name__) from error

    def _refused(self, subject: str, error: SchemaRegistryError) -> RegistrationRefusedError:
        reasons = JAVA_CLASS.sub("", str(error.error_message)).rstrip(".")
        return RegistrationRefusedError(
            f"The schema registry at {self._address} refuses the schema of {subject}: "
            f"{reasons}; undo the change, or publish it as a new major."
        )

    def _unavailable(
        self, reason: str, kind: type[UnavailableError] = UnavailableError
    ) -> UnavailableError:
        return kind(
            f"The schema registry at {self._address} does not answer well ({reason}); "
            f"start it, or check address and credentials."
        )

    def _nonsense(self, what: str) -> UnavailableError:
        """An answer that is none. Whoever asks again gets a new one: the client keeps them all."""
        self._client.clear_caches()  # type: ignore[no-untyped-call]  # bare in the library
        return self._unavailable(f"it answers {what}")

    def _registered(self, found: ForeignSchema) -> RegisteredSchema:
        return RegisteredSchema(
            self._number(found.schema_id, IDS),
            self._schema_text(found.schema),
            self._text(found.subject, "a subject"),
            self._number(found.version, VERSIONS),
            self._guid(found.guid),
        )

    def _number(self, found: object, allowed: range) -> int:
        """An id or a version; a bool is none, nor is a text that looks like one."""
        if type(found) is not int or found not in allowed:
            raise self._nonsense("a schema without an id or a version")
        return found

    def _guid(self, found: object) -> UUID | None:
        if found is None:
            return None
        try:
            return UUID(self._text(found, "a GUID"))
        except ValueError as error:
            raise self._nonsense("a GUID that is none") from error

    def _listed(self, found: object, kind: type[Item]) -> list[Item]:
        if found is None:
            return []
        if not isinstance(found, list) or not all(type(each) is kind for each in found):
            raise self._nonsense("what is no list of what it was asked for")
        return found

    def _schema_text(self, found: Schema) -> str:
        return self._text(found.schema_str, "a schema")

    def _text(self, found: object, what: str) -> str:
        if not isinstance(found, str):
            raise self._nonsense(f"{what} that is no text")
        return found


def _without_credentials(url: str) -> str:
    """An address fit for messages: credentials cut out."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
