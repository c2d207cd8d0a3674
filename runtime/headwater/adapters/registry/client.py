"""The `Registry` port over a Confluent-compatible schema registry.

Only a registry's own "no such schema" counts as a no: a 404 without the registry's error code comes
from a wrong address or a proxy, and waits like every other bad answer.
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

_ABSENT: Final = frozenset(
    {40401, 40402, 40403, 40408}
)  # no such subject, version, schema; no mode of the subject's own
_REFUSED: Final = frozenset(
    {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
)  # incompatible; not a schema

JAVA_CLASS: Final = re.compile(
    r"^(\w+\.)+\w+: "
)  # Apicurio begins a refusal with an exception's name

Answer = TypeVar("Answer")
Item = TypeVar("Item", int, str)


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

        A registry that knows no GUIDs at all has none of this one.
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
            self._schemas[reference] = self._text(found)
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
        self._ask(lambda: self._client.set_compatibility(subject, compatibility), subject)
        self._ask(lambda: self._client.register_schema(subject, foreign), subject)
        registered = self.lookup(subject, schema)
        if registered is None:
            raise self._unavailable(f"it took a schema for {subject} and does not know it")
        return registered

    def lookup(self, subject: str, schema: str) -> RegisteredSchema | None:
        """The registered copy of exactly this schema under the subject; None when there is none."""
        foreign = Schema(schema, "AVRO")
        found = self._ask(lambda: self._client.lookup_schema(subject, foreign), subject)
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
        return self._default_mode() if found is None else str(found)

    def _version(self, subject: str, number: int) -> RegisteredSchema | None:
        found = self._ask(lambda: self._client.get_version(subject, number))
        return None if found is None else self._registered(found)

    def _of_guid(self, guid: str) -> Schema | None:
        """The schema of a GUID; None also from a registry that does not know what that is.

        Such a one has no page for GUIDs. That its address is right shows where it has another.
        """
        try:
            return self._client.get_schema_by_guid(guid)
        except SchemaRegistryError as error:
            if error.http_status_code != HTTPStatus.NOT_FOUND:
                raise self._unavailable(f"HTTP {error.http_status_code}") from error
        except Exception as error:  # whatever its HTTP or JSON library raised
            raise self._unavailable(type(error).__name__) from error
        self._default_mode()
        return None

    def _default_mode(self) -> str:
        """The registry's own mode, which every registry has."""
        found = self._ask(self._client.get_compatibility)
        if not isinstance(found, str):
            raise self._unavailable("a mode that is no text")
        return found

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _ask(self, call: Callable[[], Answer], subject: str = "") -> Answer | None:
        """The registry's answer; None when it says there is no such thing."""
        try:
            return call()
        except SchemaRegistryError as error:
            if error.http_status_code == HTTPStatus.NOT_FOUND and error.error_code in _ABSENT:
                return None
            if subject and error.http_status_code in _REFUSED:
                raise self._refused(subject, error) from error
            raise self._unavailable(f"HTTP {error.http_status_code}") from error
        except Exception as error:  # whatever its HTTP or JSON library raised
            raise self._unavailable(type(error).__name__) from error

    def _refused(self, subject: str, error: SchemaRegistryError) -> RegistrationRefusedError:
        reasons = JAVA_CLASS.sub("", error.error_message).rstrip(".")
        return RegistrationRefusedError(
            f"The schema registry at {self._address} refuses the schema of {subject}: "
            f"{reasons}; undo the change, or publish it as a new major."
        )

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"The schema registry at {self._address} does not answer well ({reason}); "
            f"start it, or check address and credentials."
        )

    def _registered(self, found: ForeignSchema) -> RegisteredSchema:
        if found.schema_id is None:
            raise self._unavailable("a schema without an id")
        return RegisteredSchema(
            found.schema_id,
            self._text(found.schema),
            found.subject,
            found.version,
            None if found.guid is None else UUID(found.guid),
        )

    def _listed(self, found: object, kind: type[Item]) -> list[Item]:
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(each, kind) for each in found):
            raise self._unavailable("an answer that is no list")
        return found

    def _text(self, found: Schema) -> str:
        if not isinstance(found.schema_str, str):
            raise self._unavailable("an answer without a schema")
        return found.schema_str


def _without_credentials(url: str) -> str:
    """An address fit for messages: credentials cut out."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
