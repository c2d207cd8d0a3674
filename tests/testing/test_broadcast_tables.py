"""Broadcast tables in a declaration, in ProductDriver, in samples and in `describe`."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.assembly.checking import check
from headwater.assembly.description import describe
from headwater.assembly.samples import cases, run_case
from headwater.errors import DeclarationError
from headwater.testing import ProductDriver

PLANE: dict[str, Any] = {"id": "string", "year": ["null", "int"], "seats": "int"}
JOINED: dict[str, Any] = {"id": "string", "note": ["null", "string"], "built": ["null", "int"]}
TAKEN = 'columns={"year": "built"}'


def joined(project: Any, *, how: str = "left", columns: str = TAKEN, on: str = "note") -> Path:
    """Orders joined with planes on their note."""
    project.contract("shop.planes", PLANE)
    project.contract("shop.joined", JOINED)
    path: Path = project.product(
        "shop.joined",
        f"""\
        orders = product.stream("shop.orders", contract=1)
        planes = product.table("shop.planes", contract=1, broadcast=True)
        flow = orders.join(planes, on="{on}", {columns}, how="{how}")
        product.publish(flow.select("id", "note", "built"), contract=1)
        """,
    )
    return path


def order(number: str, note: str | None) -> dict[str, Any]:
    """An order whose note names a plane."""
    return {"id": number, "n": 1, "note": note}


PLANES: list[dict[str, Any]] = [
    {"id": "N1", "year": 1999, "seats": 2},
    {"id": "N2", "year": None, "seats": 3},
]
ORDERS = [order("a", "N1"), order("b", "N2"), order("c", "N3"), order("d", None)]


def test_a_left_join_keeps_what_finds_nothing(project: Any) -> None:
    """Null columns where there is no row, and a null key is kept."""
    joined(project)
    driver = ProductDriver("shop.joined")
    driver.table("shop.planes", PLANES)
    out = driver.run(ORDERS).events()
    assert [event["built"] for event in out] == [1999, None, None, None]
    assert [event["id"] for event in out] == ["a", "b", "c", "d"]


def test_an_inner_join_drops_what_finds_nothing(project: Any) -> None:
    """A row of the table whose column is null is found all the same."""
    joined(project, how="inner")
    driver = ProductDriver("shop.joined")
    driver.table("shop.planes", PLANES)
    assert [event["id"] for event in driver.run(ORDERS).events()] == ["a", "b"]


def test_a_table_stays_as_given_until_it_is_given_again(project: Any) -> None:
    """Of a key the last row counts; an empty one finds nothing."""
    joined(project, how="inner")
    driver = ProductDriver("shop.joined")
    assert driver.run(ORDERS).events() == []
    driver.table("shop.planes", [*PLANES, {"id": "N1", "year": 2001, "seats": 2}])
    for _ in range(2):
        assert [event["built"] for event in driver.run(ORDERS).events()] == [2001, None]
    driver.table("shop.planes", [])
    assert driver.run(ORDERS).events() == []


def test_a_table_that_is_not_declared_is_refused(project: Any) -> None:
    """The sentence names those that are."""
    joined(project)
    with pytest.raises(DeclarationError, match=r"no table shop.orders; there are: shop.planes"):
        ProductDriver("shop.joined").table("shop.orders", [])
    with pytest.raises(DeclarationError, match="the column seats is missing"):
        ProductDriver("shop.joined").table("shop.planes", [{"id": "N1"}])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.integers(0, 9))),
    st.lists(st.none() | st.sampled_from("abcdefg"), min_size=1),
)
def test_a_join_with_a_table_that_does_not_change_is_a_batch_join(
    rows: list[tuple[str, int | None]], notes: list[str | None]
) -> None:
    """The same as Polars' own left join with the last row of each key."""
    driver = DRIVER[0]
    planes = pl.DataFrame(
        {"id": [k for k, _ in rows], "year": [v for _, v in rows], "seats": [1] * len(rows)},
        schema={"id": pl.String, "year": pl.Int32, "seats": pl.Int32},
    )
    orders = pl.DataFrame(
        {"id": [str(i) for i in range(len(notes))], "n": [1] * len(notes), "note": notes},
        schema={"id": pl.String, "n": pl.Int32, "note": pl.String},
    )
    driver.table("shop.planes", planes)
    last = planes.unique("id", keep="last").select(note="id", built="year")
    expected = orders.drop("n").join(last, on="note", how="left", maintain_order="left")
    assert driver.run(orders).frame().equals(expected)


DRIVER: list[ProductDriver] = []


@pytest.fixture(autouse=True)
def _driver(project: Any) -> None:
    joined(project)
    DRIVER[:] = [ProductDriver("shop.joined")]


MISTAKES = [
    ({"on": "nots"}, "UNKNOWN_COLUMN"),
    ({"on": "n"}, "JOIN_MISFIT"),
    ({"columns": 'columns={"yeer": "built"}'}, "UNKNOWN_COLUMN"),
    ({"columns": 'columns={"year": "note"}'}, "COLUMN_CLASH"),
    ({"columns": "columns=None"}, "COLUMN_CLASH"),
    ({"columns": 'columns={"year": "_row"}'}, "RESERVED_NAME"),
    ({"columns": 'columns=["year"]'}, "INVALID_VALUE"),
    ({"columns": 'columns={"year": "x", "seats": "x"}'}, "INVALID_VALUE"),
    ({"how": "outer"}, "INVALID_VALUE"),
]


@pytest.mark.parametrize(("change", "code"), MISTAKES)
def test_a_join_that_cannot_be_is_refused_without_data(
    project: Any, change: dict[str, str], code: str
) -> None:
    """Columns, their types and names are known from the contracts."""
    if change.get("columns") == "columns=None":
        project.contract("shop.orders", {"id": "string", "seats": "int", "note": "string"})
    joined(project, **change)
    with pytest.raises(DeclarationError, match=code):
        check([], project.root)


DECLARATIONS = [
    ('product.table("shop.orders", contract=1, broadcast=True)', "INPUT_TWICE"),
    ('product.table("shop.keyless", contract=1, broadcast=True)', "TABLE_KEY"),
    ('product.table("shop.pairs", contract=1, broadcast=True)', "TABLE_KEY"),
    ('product.table("shop.planes", contract=1, broadcast="yes")', "INVALID_VALUE"),
    ('product.table("shop.planes", contract=1, versioned=None, broadcast=True)', "INVALID_VALUE"),
    ('product.table("shop.planes", contract=7, broadcast=True)', "NO_CONTRACT"),
    ('product.table("Planes", contract=1, broadcast=True)', "INVALID_NAME"),
]


@pytest.mark.parametrize(("table", "code"), DECLARATIONS)
def test_a_table_that_cannot_be_is_refused(project: Any, table: str, code: str) -> None:
    """With file and line, and no word about the joins behind it."""
    project.contract("shop.keyless", PLANE, key=[])
    project.contract("shop.pairs", PLANE, key=["id", "seats"])
    project.contract("shop.copies")
    project.product(
        "shop.copies",
        f"""\
        orders = product.stream("shop.orders", contract=1)
        table = {table}
        flow = orders.join(table, on="note", columns={{"id": "x"}})
        product.publish(flow.select("id", "n", "note"), contract=1)
        """,
    )
    with pytest.raises(DeclarationError) as caught:
        check(["shop.copies"], project.root)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_a_table_of_another_product_is_refused(project: Any) -> None:
    """A table belongs to the product that holds it."""
    project.contract("shop.copies")
    project.product(
        "shop.copies",
        """\
        other = DataProduct("shop.other", owner="shop@example.com")
        planes = other.table("shop.planes", contract=1, broadcast=True)
        orders = product.stream("shop.orders", contract=1)
        product.publish(orders.join(planes, on="note").select("id", "n", "note"), contract=1)
        del other
        """,
    )
    with pytest.raises(DeclarationError, match="joins no table of this product"):
        check(["shop.copies"], project.root)


def test_samples_may_hold_the_rows_of_a_table(project: Any) -> None:
    """`<case>.table.<topic>.jsonl`; a case without it has an empty table."""
    project.sample("shop.joined", "one.table.shop.planes.jsonl", PLANES)
    project.sample("shop.joined", "one.in.jsonl", ORDERS[:1])
    project.sample("shop.joined", "one.out.jsonl", [{"id": "a", "note": "N1", "built": 1999}])
    project.sample("shop.joined", "two.in.jsonl", ORDERS[:1])
    project.sample("shop.joined", "two.out.jsonl", [{"id": "a", "note": "N1", "built": None}])
    assert check([], project.root).samples == 2
    driver = ProductDriver("shop.joined")
    results = [run_case(case, driver) for case in cases(driver.loaded.samples)]
    assert [result.differences for result in results] == [[], []]
    project.sample("shop.joined", "one.table.shop.nothing.jsonl", PLANES)
    with pytest.raises(DeclarationError, match="BAD_SAMPLE"):
        check([], project.root)


def test_describe_shows_tables_and_joins(project: Any) -> None:
    """What is held, and what each join takes of it."""
    shown = describe(ProductDriver("shop.joined").loaded)
    assert [table["topic"] for table in shown["tables"]] == ["shop.planes"]
    assert shown["tables"][0]["broadcast"]
    step = shown["outputs"][0]["steps"][0]
    assert step["does"] == "shop.planes on note (left): year as built"


def test_only_columns_that_a_join_takes_are_held(project: Any) -> None:
    """Memory is for what is asked for."""
    held = ProductDriver("shop.joined").loaded.tables["shop.planes"].rows
    assert list(held.columns) == ["id", "year"]


def test_a_newer_contract_of_a_table_is_judged_like_that_of_an_input(project: Any) -> None:
    """The gate knows who reads a table, and says what its joins would meet."""
    project.contract("shop.planes", {"id": "string", "seats": "int"}, 2, compatibility="NONE")
    (note,) = check([], project.root).notes
    assert "shop.joined reads shop.planes with v1" in note
    assert "no column 'year' here" in note


STEPS = [
    ("", True),
    ('.filter(pl.col("id") != "x")', True),
    ('.select("id", "note", pl.col("built"))', True),
    ('.select("id", "note", x="built").select("id", "note", built=pl.col("x"))', True),
    ('.with_columns(pl.col("built").fill_null(0))', False),
    ('.with_columns(built=pl.col("built").fill_null(0))', False),
    (".with_columns(pl.all().fill_null(0))", False),
    ('.filter(pl.col("built").is_not_null())', False),
    (".filter(pl.all_horizontal(pl.all().is_not_null()))", False),
    (".map(lambda frame: frame)", False),
]


@pytest.mark.parametrize(("steps", "is_refused"), STEPS)
def test_a_field_of_values_cannot_come_from_a_left_join_as_it_is(
    project: Any, steps: str, is_refused: bool
) -> None:
    """Told without data, unless a step in between may have put a value there."""
    project.contract("shop.joined", {"id": "string", "note": ["null", "string"], "built": "int"})
    for how, refused in (("left", is_refused), ("inner", False)):
        project.product(
            "shop.joined",
            f"""\
            orders = product.stream("shop.orders", contract=1)
            planes = product.table("shop.planes", contract=1, broadcast=True)
            flow = orders.select("id", "note").join(
                planes, on="note", columns={{"year": "built"}}, how="{how}"
            ){steps}
            product.publish(flow, contract=1)
            """,
        )
        if refused:
            with pytest.raises(DeclarationError, match="built is null where join-1 finds nothing"):
                check([], project.root)
        else:
            check([], project.root)
