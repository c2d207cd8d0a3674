"""Publishing the schemas of contracts, and finding the ids they were published under."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final, NamedTuple

from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.project import LoadedProduct
from headwater.assembly.subjects import key_subject, value_subject
from headwater.config import Settings
from headwater.contract import Contract, key_schema
from headwater.errors import DeclarationError, Problem, RegistrationRefusedError
from headwater.ports import RegisteredSchema, Registry

KEY_COMPATIBILITY: Final = (
    "FULL_TRANSITIVE"  # the strictest there is; `_register_key` adds the rest
)


class SchemaIds(NamedTuple):
    """The registry's ids of a topic: of its values, and of its keys when they are composite."""

    value: int
    key: int | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """One schema as published; `is_new` when this call published it."""

    contract: Contract
    subject: str
    compatibility: str
    schema_id: int
    version: int | None
    is_new: bool


def register(contract: Contract, registry: Registry) -> list[Registration]:
    """Publish a contract's schemas: of its values, and of its keys when they are composite.

    The subject's compatibility is set first. Raises RegistrationRefusedError with the registry's
    reasons, and UnavailableError.
    """
    done = []
    key = key_schema(contract)
    if key is not None:
        done.append(_register_key(contract, key, registry))
    subject = value_subject(contract.topic)
    done.append(_registered(contract, subject, contract.text, contract.compatibility, registry))
    return done


def publish(products: Iterable[LoadedProduct], settings: Settings) -> list[Registration]:
    """Publish the output contracts of products; the errors are those of `register`."""
    with closing(SchemaRegistry(settings.registry)) as registry:
        return [
            registration
            for product in products
            for contract in product.outputs.values()
            for registration in register(contract, registry)
        ]


def registered_ids(
    loaded: LoadedProduct, registry: Registry, *, is_registering: bool
) -> Mapping[str, SchemaIds]:
    """The schema ids of a product's outputs, by topic; published first when `is_registering`.

    Raises DeclarationError (NOT_REGISTERED) naming every schema that is missing,
    RegistrationRefusedError, and UnavailableError.
    """
    if is_registering:
        for contract in loaded.outputs.values():
            register(contract, registry)
    return lookup_ids(loaded.outputs.values(), registry)


def lookup_ids(contracts: Iterable[Contract], registry: Registry) -> dict[str, SchemaIds]:
    """The schema ids of contracts by topic. Raises DeclarationError (NOT_REGISTERED)."""
    ids: dict[str, SchemaIds] = {}
    problems: list[Problem] = []
    for contract in contracts:
        value = registry.lookup(value_subject(contract.topic), contract.text)
        key = _find_key(contract, registry)
        if value is None or (key is None and key_schema(contract) is not None):
            problems.append(_not_registered(contract))
        else:
            ids[contract.topic] = SchemaIds(value.schema_id, key.schema_id if key else None)
    if problems:
        raise DeclarationError(problems)
    return ids


def _register_key(contract: Contract, key: str, registry: Registry) -> Registration:
    subject = key_subject(contract.topic)
    latest = registry.latest(subject)
    if latest is not None and registry.lookup(subject, key) is None:
        # A changed key sends a record to another partition: its order would be lost.
        raise RegistrationRefusedError(
            f"The key of {contract.topic} is frozen as version {latest.version} of {subject}; "
            f"keep it, or publish a new major.",
            code="KEY_FROZEN",
        )
    return _registered(contract, subject, key, KEY_COMPATIBILITY, registry)


def _registered(
    contract: Contract, subject: str, schema: str, compatibility: str, registry: Registry
) -> Registration:
    known = registry.lookup(subject, schema)
    found = registry.register(subject, schema, compatibility=compatibility)
    return Registration(
        contract, subject, compatibility, found.schema_id, found.version, is_new=known is None
    )


def _find_key(contract: Contract, registry: Registry) -> RegisteredSchema | None:
    key = key_schema(contract)
    return None if key is None else registry.lookup(key_subject(contract.topic), key)


def _not_registered(contract: Contract) -> Problem:
    return Problem(
        "NOT_REGISTERED",
        f"contract {contract.version} of {contract.topic} is not in the schema registry; "
        f"publish it with `headwater register`",
        str(contract.path),
    )
