"""A registry that answers, but not what it was asked: it waits, and nothing of it is used."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
from tests.registry.answering import GUID, NO_PAGE, SUBJECT, Answers, answering, held

from headwater.adapters.registry import SchemaRegistry
from headwater.errors import UnavailableError, UnknownSchemaError

TEXT = '"string"'
SOUND: dict[str, Any] = {"subject": SUBJECT, "version": 1, "id": 7, "schema": TEXT}
HELD = {**SOUND, "guid": str(UUID(int=1))}
NO_GUID = (404, b'{"error_code":40403,"message":"Schema not found."}')

Serve = Callable[[Answers], SchemaRegistry]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A registry of these answers, every other path unknown; they may change meanwhile."""
    with ExitStack() as servers:
        yield lambda answers: SchemaRegistry(
            {"url": servers.enter_context(answering(answers)), "max.retries": "0"}
        )


CALLS: dict[str, Callable[[SchemaRegistry], object]] = {
    "lookup": lambda registry: registry.lookup(SUBJECT, TEXT),
    "latest": lambda registry: registry.latest(SUBJECT),
    "versions": lambda registry: registry.versions(SUBJECT),
}
BAD: dict[str, list[Any]] = {
    "id": [None, "5x", "7", True, 7.0, -1, 1 << 31, [7], {}],
    "version": [None, "/../../../../../evil", "1", True, 1.5, 0, -3, 1 << 31, [1]],
    "guid": ["nonsense", "", 5, True, [str(GUID)], {}],
    "subject": [5, None, [SUBJECT], {}],
    "schema": [5, None, ["string"], {"type": "string"}],
}


# Whoever looks a schema up has its text, and the registry's is not asked for.
CASES = [
    (call, name, bad)
    for call in CALLS
    for name in BAD
    for bad in BAD[name]
    if (call, name) != ("lookup", "schema")
]


@pytest.mark.parametrize(("named", "name", "value"), CASES)
def test_what_is_no_registered_schema_waits(
    serve: Serve, named: str, name: str, value: Any
) -> None:
    """Ids end in frames, versions in the names of files: neither is taken on trust."""
    call = CALLS[named]
    answers = held(SOUND, **{name: value})
    registry = serve(answers)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
        call(registry)
    answers.update(held(SOUND))
    assert call(registry)
    registry.close()


@pytest.mark.parametrize("reference", [7, GUID], ids=["id", "guid"])
@pytest.mark.parametrize("schema", [5, None, [], {"type": "string"}])
def test_a_schema_that_is_no_text_is_asked_for_again(
    serve: Serve, reference: int | UUID, schema: Any
) -> None:
    """The client would keep the answer for ever, and a healed registry would not help."""
    answers = held(SOUND, schema=schema)
    registry = serve(answers)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            registry.schema(reference)
    answers.update(held(SOUND))
    assert registry.schema(reference) == TEXT
    registry.close()


def test_another_version_than_asked_for_waits(serve: Serve) -> None:
    """It would be pinned under a name that is not its own."""
    registry = serve(held(SOUND, version=2))
    with pytest.raises(UnavailableError, match="another version"):
        registry.versions(SUBJECT)
    registry.close()


@pytest.mark.parametrize("body", [b"[true]", b'["1"]', b"[1.0]", b"{}", b'"1"', b"[[1]]"])
def test_versions_are_numbers(serve: Serve, body: bytes) -> None:
    """True would be version 1."""
    answers = held(SOUND)
    versions = f"/subjects/{SUBJECT}/versions"
    answers[f"{versions}/True"] = answers[f"{versions}/1.0"] = answers[f"{versions}/1"]
    registry = serve({**answers, versions: (200, body)})
    with pytest.raises(UnavailableError):
        registry.versions(SUBJECT)
    registry.close()


@pytest.mark.parametrize("mode", [b"5", b"null", b"[]"])
def test_a_mode_is_a_text(serve: Serve, mode: bytes) -> None:
    """The subject's own as well as the registry's."""
    answer = b'{"compatibilityLevel":%s}' % mode
    for path in ("/config", f"/config/{SUBJECT}"):
        unknown = (404, b'{"error_code":40408,"message":"no mode of its own"}')
        registry = serve({f"/config/{SUBJECT}": unknown, path: (200, answer)})
        with pytest.raises(UnavailableError):
            registry.compatibility(SUBJECT)
        registry.close()


@pytest.mark.parametrize("code", [b"[40403]", b"{}", b'"40403"', b"null", b"true", b"1e999"])
def test_an_error_code_that_is_none_is_no_definite_no(serve: Serve, code: bytes) -> None:
    """Nobody's record goes to the dead letters for it."""
    refusal = (404, b'{"error_code":%s,"message":[1]}' % code)
    registry = serve({"/schemas/ids/7": refusal, f"/schemas/guids/{GUID}": refusal})
    for reference in (7, GUID):
        with pytest.raises(UnavailableError):
            registry.schema(reference)
    registry.close()


def test_a_refusal_without_words_is_a_refusal(serve: Serve) -> None:
    """The message is whatever the registry sent."""
    registry = serve({f"/subjects/{SUBJECT}": (422, b'{"error_code":42201,"message":[1]}')})
    assert registry.lookup(SUBJECT, "banana") is None
    registry.close()


def test_a_registrys_own_no_to_a_guid_is_definite(serve: Serve) -> None:
    """As to an id."""
    registry = serve({**held(HELD), f"/schemas/guids/{GUID}": NO_GUID})
    with pytest.raises(UnknownSchemaError, match=str(GUID)):
        registry.schema(GUID)
    registry.close()


@pytest.mark.parametrize("status_and_body", [NO_PAGE, (404, b""), (404, b"{}"), (404, b"[]")])
def test_a_missing_page_for_guids_waits_where_schemas_have_guids(
    serve: Serve, status_and_body: tuple[int, bytes]
) -> None:
    """A proxy, or a node that is not up to date: the records would be lost to the dead letters."""
    answers = {**held(HELD), f"/schemas/guids/{GUID}": status_and_body}
    registry = serve(answers)
    with pytest.raises(UnavailableError, match="no page for GUIDs"):
        registry.schema(GUID)
    answers["/subjects"] = (200, b"[]")
    with pytest.raises(UnavailableError, match="no page for GUIDs"):
        registry.schema(GUID)
    answers["/subjects"] = NO_PAGE
    with pytest.raises(UnavailableError):
        registry.schema(GUID)
    registry.close()


def test_a_registry_that_gives_no_guids_has_none_and_says_so(serve: Serve) -> None:
    """A header of one record must not stop a product for ever, where nobody could answer it."""
    registry = serve({**held(SOUND), f"/schemas/guids/{GUID}": (404, b"")})
    with pytest.raises(UnknownSchemaError, match="gives its schemas no GUIDs"):
        registry.schema(GUID)
    registry.close()
