"""`headwater check`: every mistake at once, with file and line."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from headwater.assembly.checking import check
from headwater.assembly.project import load_product
from headwater.cli.main import main
from headwater.errors import DeclarationError

ORDER = {"id": "a", "n": 1}
FULL = "FULL_TRANSITIVE"


def mistakes(*targets: str) -> list[str]:
    """Every problem as printed, without its sentence."""
    with pytest.raises(DeclarationError) as caught:
        check(targets, Path.cwd())
    return [str(p).removesuffix(p.message).removesuffix(": ") for p in caught.value.problems]


def sentences(*targets: str) -> str:
    """Every problem as printed."""
    with pytest.raises(DeclarationError) as caught:
        check(targets, Path.cwd())
    return str(caught.value)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line; its exit code."""
    monkeypatch.setattr(sys, "argv", ["headwater", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_a_project_without_mistakes_is_told_what_was_checked(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 0, in words and as JSON."""
    project.passing("shop.copies")
    project.sample("shop.copies", "one.in.jsonl", [ORDER])
    assert run(monkeypatch, "check") == 0
    assert "Nothing wrong in 1 product, 2 contracts and 1 sample." in capsys.readouterr().out
    assert run(monkeypatch, "check", "--format", "json") == 0
    stays = {"deprecated": None, "sunset": None, "fate": None}
    version = {"version": 1, "compatibility": FULL, **stays}
    assert json.loads(capsys.readouterr().out) == {
        "products": ["shop.copies"],
        "unproved": [],
        "contracts": ["shop.copies v1", "shop.orders v1"],
        "versions": [{"topic": "shop.copies"} | version, {"topic": "shop.orders"} | version],
        "notes": [],
        "samples": 1,
    }


def test_all_mistakes_of_a_project_are_printed_at_once(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Declaration, flow, output and contract, each with its line; exit 78, no stack trace."""
    project.contract("shop.big-orders", {"id": "string", "size": "long"})
    project.product(
        "shop.big-orders",
        """\
        orders = product.stream("shop.orders", contract=1, start="soon")
        big = orders.filter(pl.col("m") > 10).filter(pl.col("idd").is_null())
        product.publish(big, contract=1)
        product.publish(orders.select("id", size="note", colour=pl.lit("red")), contract=1)
        product.publish(orders.select("id"), contract=1, port="v2")
        other = product.stream("shop.nowhere", contract=7)
        """,
    )
    project.contract("shop.broken", key="nothing", compatibility="SOMETIMES")
    assert run(monkeypatch, "check") == 78
    told = capsys.readouterr().err
    file = "products/shop/big_orders/product.py"
    assert f"{file}:5: INVALID_VALUE: start='soon'" in told
    assert f"{file}:6: UNKNOWN_COLUMN: filter-1: no column 'm' here" in told
    assert f"{file}:6: UNKNOWN_COLUMN: filter-2: no column 'idd' here; did you mean 'id'?" in told
    assert f"{file}:8: OUTPUT_TWICE" in told
    assert f"{file}:8: OUTPUT_MISFIT: shop.big-orders: the column colour is not in" in told
    assert f"{file}:8: OUTPUT_MISFIT: shop.big-orders: size is String" in told
    assert f"{file}:9: INVALID_NAME: the port name 'v2' is reserved" in told
    assert f"{file}:10: NO_CONTRACT: the contract shop.nowhere v7 is not there" in told
    assert "schemas/shop/broken/v1.avsc:5: BAD_KEY" in told
    assert "BAD_ATTRIBUTE" in told
    assert "Traceback" not in told
    assert str(project.root) not in told


@pytest.mark.parametrize("asked", [["--format", "json"], ["--format=json"]])
@pytest.mark.parametrize("command", [["check"], ["describe", "shop.bad"], ["test", "shop.bad"]])
def test_mistakes_are_told_to_programs_too(
    project: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: list[str],
    command: list[str],
) -> None:
    """With code, sentence, file and line; people read the same on standard error."""
    project.product(
        "shop.bad", "product.publish(3, contract=0)\nproduct.stream('a.b', contract=1)\n"
    )
    assert run(monkeypatch, *command, *asked) == 78
    told = capsys.readouterr()
    problems = json.loads(told.out)["problems"]
    assert [(p["code"], p["line"]) for p in problems] == [
        ("INVALID_VALUE", 5),
        ("INVALID_VALUE", 5),
        ("NO_CONTRACT", 6),
    ]
    assert {p["file"] for p in problems} == {"products/shop/bad/product.py"}
    assert [line.split(": ")[1] for line in told.err.splitlines()] == [p["code"] for p in problems]
    assert run(monkeypatch, *command) == 78
    assert capsys.readouterr().out == ""


def test_a_product_without_samples_is_not_proved_on_data(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing wrong was found without rows; it is said that there were none."""
    project.passing("shop.copies")
    project.passing("shop.tried")
    project.sample("shop.tried", "one.in.jsonl", [ORDER])
    assert run(monkeypatch, "check") == 0
    told = capsys.readouterr().out
    assert "product   shop.copies, not proved on data: no samples\n" in told
    assert "product   shop.tried\n" in told
    assert run(monkeypatch, "check", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["unproved"] == ["shop.copies"]


def test_nothing_but_null_for_a_required_field_is_told(project: Any) -> None:
    """A nullable field takes it, and what a map makes of no rows is not judged."""
    project.passing("shop.copies")
    flow = 'product.stream("shop.orders", contract=1)'
    lines = (
        f"product.publish({flow}.with_columns(n=pl.lit(None), note=pl.lit(None)), contract=1)\n",
        f"product.publish({flow}.map(lambda f: f.with_columns(pl.Series('n', []))), contract=1)\n",
    )
    project.product("shop.copies", lines[0])
    assert mistakes() == ["products/shop/copies/product.py:5: OUTPUT_MISFIT"]
    assert "shop.copies: n is always null, the contract wants a value" in sentences()
    project.product("shop.copies", lines[1])
    assert check([], Path.cwd()).problems == []


@pytest.mark.parametrize(
    "place",
    ["shop/orders/v0", "shop/orders/v01", "shop/orders/V1", "shop/orders/v²", "shop/Orders/v1",
     "shop/old-orders/v1", "shop/old__orders/v1", "shop/v1", "v1"],
)  # fmt: skip
def test_a_contract_that_no_product_can_name_is_told(project: Any, place: str) -> None:
    """Versions begin with 1, and folders are names with underscores inside."""
    stray = project.contract("shop.orders", version=2)
    path = Path("schemas", f"{place}.avsc")
    path.parent.mkdir(parents=True, exist_ok=True)
    stray.rename(path)
    assert mistakes() == [f"{path}: STRAY_CONTRACT"]


def test_a_missing_required_field_is_told(project: Any) -> None:
    """A nullable field with a default may be missing, another may not."""
    project.passing("shop.copies")
    project.product(
        "shop.copies",
        'product.publish(product.stream("shop.orders", contract=1).select("id"), contract=1)\n',
    )
    assert "the column n is missing" in sentences()
    assert "note" not in sentences()


def test_inputs_that_lead_back_to_their_product_are_told(project: Any) -> None:
    """Over all products of the project, even when one of them alone is asked for."""
    project.passing("shop.a", "shop.c")
    project.passing("shop.b", "shop.a")
    project.passing("shop.c", "shop.b")
    project.passing("shop.self", "shop.self")
    project.passing("shop.innocent", "shop.a")
    assert mistakes() == [
        f"products/shop/{name}/product.py:5: CYCLIC_INPUTS" for name in ("a", "b", "c", "self")
    ]
    assert "shop.b reads shop.a reads shop.c reads shop.b" in sentences("shop.b")


def test_two_products_cannot_publish_one_log(project: Any) -> None:
    """A port of one may be the name of no other."""
    project.passing("shop.a")
    file = project.passing("shop.b")
    text = file.read_text(encoding="utf-8").replace('"shop.b"', '"shop.a"')
    file.write_text(text, encoding="utf-8")
    assert mistakes() == [
        "products/shop/b/product.py:4: WRONG_FOLDER",
        "products/shop/b/product.py:5: OUTPUT_TWICE",
    ]


def test_a_step_that_depends_on_batches_is_found_with_samples(project: Any) -> None:
    """The samples are the rows it is tried on."""
    project.contract("shop.big")
    project.product(
        "shop.big",
        """\
        orders = product.stream("shop.orders", contract=1)
        big = orders.filter(pl.col("n") > pl.col("n").mean())
        product.publish(big, contract=1)
        """,
    )
    assert check([], Path.cwd()).samples == 0
    project.sample("shop.big", "one.in.jsonl", [{"id": f"{n}", "n": n} for n in range(10)])
    assert mistakes() == ["products/shop/big/product.py:6: BATCH_DEPENDENT"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x = 1 +\n", "5: PRODUCT_RAISED: SyntaxError"),
        ("import nowhere_at_all\n", "5: PRODUCT_RAISED: ModuleNotFoundError"),
        ("\nproduct.window('1h')\n", "6: PRODUCT_RAISED: AttributeError"),
        ("p2 = DataProduct('a.b', owner='x', promises=[])\n", "5: PRODUCT_RAISED: TypeError"),
        ("p2 = DataProduct('a.b', owner='x')\n", " NO_PRODUCT: declares 2 products"),
        ("import sys\nsys.exit(0)\n", "6: PRODUCT_RAISED: ends the process"),
        ("product = None\n", " NO_PRODUCT: declares 0 products"),
        ("product.publish('flow', contract=1)\n", "5: INVALID_VALUE: publish takes a flow"),
    ],
)
def test_a_product_file_that_cannot_be_run_names_its_line(
    project: Any, body: str, expected: str
) -> None:
    """Python's own complaint, with the author's line."""
    project.product("shop.bad", body)
    assert f"products/shop/bad/product.py:{expected}" in sentences("shop.bad")


def test_what_a_product_prints_while_it_is_read_is_no_answer(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is the command's alone, so that JSON can be read."""
    file = project.passing("shop.copies")
    file.write_text("print('looking')\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert run(monkeypatch, "check", "--format", "json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["products"] == ["shop.copies"]
    assert told.err == "looking\n"


def test_a_contract_in_the_wrong_place_is_told(project: Any) -> None:
    """A file that no version or topic can name would never be read."""
    stray = project.contract("shop.orders", version=2).rename(Path("schemas/shop/orders/next.avsc"))
    assert mistakes(str(stray)) == ["schemas/shop/orders/next.avsc: STRAY_CONTRACT"]


@pytest.mark.parametrize(
    "target", ["shop.copies", "products/shop/copies", "products/shop/copies/product.py"]
)
def test_a_product_is_found_by_name_folder_and_file(project: Any, target: str) -> None:
    """From anywhere inside the project."""
    file = project.passing("shop.copies")
    loaded = load_product(target)
    assert (loaded.name, loaded.file, loaded.root) == ("shop.copies", file, project.root)
    assert load_product("shop.copies", project.root / "products" / "shop").file == file


def test_a_product_that_is_not_there_is_told_with_the_nearest(project: Any) -> None:
    """A slip of the finger costs one line of reading."""
    project.passing("shop.copies")
    with pytest.raises(DeclarationError, match=r"no product shop.copy; did you mean shop.copies\?"):
        load_product("shop.copy")


def test_outside_a_project_there_is_one_sentence(tmp_path: Path) -> None:
    """No products and no schemas here or above."""
    with pytest.raises(DeclarationError, match="NO_PROJECT"):
        load_product("shop.copies", tmp_path)


def test_two_products_may_each_have_a_module_of_the_same_name(project: Any) -> None:
    """A module beside product.py belongs to that product alone."""
    for name, number in (("shop.a", 1), ("shop.b", 2)):
        project.contract(name)
        file = project.product(
            name,
            """\
            from rules import NUMBER
            orders = product.stream("shop.orders", contract=1)
            product.publish(orders.with_columns(n=pl.lit(NUMBER)), contract=1)
            """,
        )
        (file.parent / "rules.py").write_text(f"NUMBER = {number}\n", encoding="utf-8")
    steps = [load_product(name).product.outputs[0].flow.steps[0] for name in ("shop.a", "shop.b")]
    assert [str(step.named["n"]) for step in steps] == ["dyn int: 1", "dyn int: 2"]  # type: ignore[union-attr]
    assert "rules" not in sys.modules


def test_a_product_is_described_in_words_and_as_json(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plan, inputs, output contract, topics."""
    project.contract("shop.big")
    project.product(
        "shop.big",
        """\
        orders = product.stream("shop.orders", contract=1)
        product.publish(orders.filter(pl.col("n") > 10), contract=1)
        """,
    )
    assert run(monkeypatch, "describe", "shop.big") == 0
    words = capsys.readouterr().out
    assert "reads: shop.orders, contract v1, from earliest" in words
    assert "filter-1" in words
    assert run(monkeypatch, "describe", "shop.big", "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["topics"] == ["shop.big", "shop.big.dead-letters"]
    assert told["outputs"][0]["steps"][0]["at"] == "shop/big/product.py:6"
    assert [field["name"] for field in told["outputs"][0]["fields"]] == ["id", "n", "note"]
    assert (told["outputs"][0]["rules"], told["outputs"][0]["dataset"]) == ([], [])


def test_rules_of_inputs_and_outputs_are_described(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of a record and those of all rows together: name, check, severity."""
    few = {"name": "few", "check": "n < 10", "severity": "warn"}
    project.contract("shop.orders", rules=[few])
    project.contract("shop.big", dataset=[{"name": "once", "unique": ["id"]}])
    project.product(
        "shop.big", 'product.publish(product.stream("shop.orders", contract=1), contract=1)\n'
    )
    assert run(monkeypatch, "describe", "shop.big") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[said.index("reads: shop.orders, contract v1, from earliest") + 1] == (
        "  rule few: n < 10  [warn]"
    )
    assert "  rule over many rows once: unique id  [fail]" in said
    assert run(monkeypatch, "describe", "shop.big", "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["inputs"][0]["rules"] == [few]
    assert told["outputs"][0]["dataset"] == [
        {"name": "once", "check": "unique id", "severity": "fail"}
    ]


def test_a_product_is_read_as_it_stands(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that changed within a second, to the same size: a checkout does that."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    project.contract("shop.orders", version=2)
    file = project.passing("shop.copies")
    written = file.stat()
    for version in (1, 2):
        file.write_text(file.read_text().replace("contract=1)", f"contract={version})", 1))
        os.utime(file, (written.st_atime, written.st_mtime))
        assert [each.contract for each in load_product(file).product.inputs] == [version]
    assert not (file.parent / "__pycache__").exists()
