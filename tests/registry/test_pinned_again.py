"""A later version pinned beside an earlier one, and a version pinned again."""

from pathlib import Path
from typing import Any

import pytest
from tests.registry.test_schema_command import FIELDS, pinned, upstream

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly import schemas
from headwater.assembly.schemas import PinOptions
from headwater.errors import DeclarationError


def evolved(root: Path, *texts: str, **options: Any) -> schemas.Pinned:
    """Pin the last of these versions."""
    registry = MemoryRegistry()
    found = [registry.register("s", text, compatibility="NONE") for text in texts]
    return schemas.pin(root, "billing.invoices", found[-1], "NONE", PinOptions(**options))


def test_a_later_version_keeps_key_and_event_time(tmp_path: Path) -> None:
    """The registry does not know them, and they never change; so with an earlier one pinned later.

    What the schema or the options say goes first.
    """
    pinned(tmp_path, upstream(), key=["id"], event_time="paid")
    note = {"name": "note", "type": "string", "default": ""}
    wider = upstream(fields=[*FIELDS, note], key="a team's")
    done = evolved(tmp_path, upstream(), wider)
    assert (done.contract.key, done.contract.event_time) == (("id",), "paid")
    assert (done.inherited, done.lost) == ({"key": "id", "eventTime": "paid"}, {})
    again = evolved(tmp_path, upstream(), wider)
    assert (again.is_new, again.inherited) == (False, {})
    (tmp_path / "schemas/billing/invoices/v1.avsc").unlink()
    assert pinned(tmp_path, upstream()).contract.key == ("id",)
    own = evolved(tmp_path, *[upstream(doc=str(n)) for n in range(2)], upstream(key=["id", "note"]))
    assert own.inherited == {"key": "id", "eventTime": "paid"}
    other = [upstream(doc=str(n)) for n in range(3)]
    fields = [{"name": "code", "type": "string"}, *FIELDS]
    said = evolved(tmp_path, *other, upstream(fields=fields, eventTime="paid"), key=["code"])
    assert (said.contract.key, said.inherited) == (("code",), {})


def test_a_key_that_the_new_schema_cannot_have_is_told(tmp_path: Path) -> None:
    """The upstream took the field away: a person decides."""
    pinned(tmp_path, upstream(), key=["id"])
    done = evolved(tmp_path, upstream(), upstream(fields=FIELDS[1:]))
    assert (done.contract.key, done.lost) == ((), {"key": "id"})


def test_options_that_a_file_does_not_say_are_refused(tmp_path: Path) -> None:
    """A key given later is not passed over: it is to be written by hand, the file is kept."""
    text = upstream(fields=[*FIELDS, {"name": "code", "type": "string"}])
    path = pinned(tmp_path, text, key=["id"]).path
    written = path.read_text()
    for options, told in (
        ({"key": ["code"]}, "the key in v1.avsc is id, not code"),
        ({"event_time": "paid"}, "the event time in v1.avsc is none, not paid"),
    ):
        with pytest.raises(DeclarationError) as caught:
            pinned(tmp_path, text, **options)
        (problem,) = caught.value.problems
        assert problem.code == "PINNED_OTHERWISE"
        assert problem.message.startswith(told)
    assert pinned(tmp_path, text, key=["id"]).is_new is False
    assert path.read_text() == written
