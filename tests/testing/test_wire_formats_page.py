"""docs/wire-formats.md: what it says is so."""

import json
import re
import sys
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest

from headwater.assembly.topic_schemas import subject_of
from headwater.cli.main import main
from headwater.contract import Contract, Decoder, guid_header, parse_contract
from headwater.contract.event_types import EventTypes
from headwater.contract.framing import VALUE_HEADER, reference
from headwater.errors import UnknownSchemaError
from headwater.model import SchemaRef
from headwater.product import Subjects
from headwater.product.declaration import DataProduct

PAGE = (Path(__file__).parents[2] / "docs" / "wire-formats.md").read_text()
FILES = re.findall(r"`((?:schemas|products)/[^`]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table that begins with this one, without its head."""
    table = PAGE[PAGE.index(f"| {heading} ") :].partition("\n\n")[0]
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in table.splitlines()[2:]
    ]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """A command that ends well."""
    monkeypatch.setattr(sys, "argv", ["headwater", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code


def test_the_product_of_the_page_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contracts, product and samples; its outputs have the contracts of its inputs."""
    monkeypatch.chdir(tmp_path)
    texts = dict(FILES)
    assert len(texts) == 6
    for output, source in (("", "gate_opened"), ("/closings", "gate_closed")):
        texts[f"schemas/shop/boardings{output}/v1.avsc"] = texts[f"schemas/shop/{source}/v1.avsc"]
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    run(monkeypatch, "check")
    run(monkeypatch, "test", "shop.boardings")


def named(name: str, *aliases: str) -> Contract:
    """A contract of a record of this name."""
    fields = [{"name": "n", "type": "int", "doc": "d"}]
    record = {"type": "record", "name": name, "aliases": list(aliases), "fields": fields}
    return parse_contract(json.dumps(record), topic="a.b", version=1, path=Path("v1.avsc"))


def test_a_record_goes_to_the_contract_the_page_names() -> None:
    """In both topics of the example."""
    topics = [
        [named("shop.GateOpened"), named("shop.GateClosed", "shop.GateShut")],
        [named("a.Moved"), named("b.Moved")],
    ]
    cases = rows("Record")
    assert len(cases) == 5
    for name, *expected in cases:
        for contracts, wanted in zip(topics, expected, strict=True):
            place = EventTypes(contracts).place(name)
            assert (wanted == "none") == (place is None)
            assert place is None or contracts[place].record.name == wanted


def test_subjects_are_named_as_the_page_says() -> None:
    """All of the strategies, and the defaults."""
    found = {cells[0].strip('"'): cells[1] for cells in rows("`subjects=`")}
    assert list(found) == list(get_args(Subjects))
    for strategy, subject in found.items():
        assert subject_of("shop.gates", strategy, "shop.GateOpened") == subject  # type: ignore[arg-type]  # a text of the page
    product: Any = DataProduct("shop.doors", owner="me")
    product.stream("shop.gates", contract=1)
    product.stream("shop.doors", contracts=[("shop.gate-opened", 1)])
    assert [each.subjects for each in product.inputs] == ["topic", "topic-record"]
    assert '`"topic"` is the default of `contract=`, `"topic-record"` that of `contracts=`' in PAGE


def test_schemas_are_named_by_id_and_guid_as_the_page_says() -> None:
    """Byte for byte."""
    guid = UUID(int=7)
    ((name, header),) = guid_header(guid)
    assert (name, header) == (VALUE_HEADER, b"\1" + guid.bytes)
    assert PAGE.count(f"header `{name}`") == 2
    assert reference(header or b"") == guid
    assert reference(b"\0\0\0\0\7") == 7


def lookup(asked: SchemaRef) -> str:
    """A registry of one schema."""
    if asked != 1:
        raise UnknownSchemaError(f"no schema {asked}")
    return named("a.R").text


@pytest.mark.parametrize(("value", "header", "code"), rows("Value"))
def test_what_the_page_says_is_refused_is(value: str, header: str, code: str) -> None:
    """With its code, and the sound neighbours on both sides are read."""
    sound = bytes.fromhex("000000000102")
    headers = {1: bytes.fromhex(header)} if header else {}
    decoder = Decoder(named("a.R"), lookup)
    for decode in (decoder.decode, decoder.decode_by_row):
        decoded = decode([sound, bytes.fromhex(value), sound], headers)
        assert [(each.row, each.code) for each in decoded.quarantined] == [(1, code)]
        assert decoded.frame["_row"].to_list() == [0, 2]
