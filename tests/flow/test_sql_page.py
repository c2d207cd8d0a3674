"""docs/sql.md: what it says is so."""

import re
from pathlib import Path

import polars as pl
import pytest

from headwater import DataProduct
from headwater.errors import DeclarationError
from headwater.flow import Columns, Plan
from headwater.flow.sql_statement import SQL_TYPES

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
COLUMNS: Columns = {
    "flight_id": pl.String(),
    "origin": pl.String(),
    "dep_delay": pl.Float64(),
    "distance": pl.Int64(),
    "sched_dep": pl.Datetime("ms", "UTC"),
    "tags": pl.List(pl.String()),
    "place": pl.Struct({"lat": pl.Float64()}),
    "kind": pl.Enum(["a"]),
    "n": pl.Int64(),
    "end": pl.Int64(),
}
REFUSED = re.findall(r"^\| (.*`.*) \|.*\|$", PAGE, re.MULTILINE)
CONSTRUCTS = [name for row in REFUSED for name in re.findall(r"`([A-Z][^`]*)`", row)]


def columns(statement: str) -> Columns:
    """What comes out of a statement."""
    flow = DataProduct("a.b", owner="me").stream("c.d", contract=1).sql(statement)
    made = Plan(flow, COLUMNS).columns
    assert made is not None
    return made


def test_the_statement_of_the_page_is_one() -> None:
    """With the columns it names."""
    (statement,) = re.findall(r'\.sql\("""(.*?)"""\)', PAGE, re.DOTALL)
    assert list(columns(statement)) == ["flight_id", "origin", "late_by", "scheduled_hour"]


@pytest.mark.parametrize(
    "value",
    [
        "distance * 2 AS there_and_back",
        '"end"',
        "place.lat",
        "sched_dep + INTERVAL '1 hour'",
        "CAST(kind AS VARCHAR)",
        "CAST(n AS BIGINT)",
        "CAST(n AS DOUBLE)",
        "5e-1",
    ],
)
def test_every_value_in_the_text_can_be_selected(value: str) -> None:
    """As it stands, or under a name."""
    assert value in PAGE
    named = value if " AS there" in value or value in {'"end"', "place.lat"} else f"{value} AS v"
    assert len(columns(f"SELECT {named} FROM events")) == 1  # noqa: S608 no database


def test_the_page_names_every_type() -> None:
    """And no type there is not."""
    (listed,) = re.findall(r"^- Types to cast to: (.*)\.$", PAGE, re.MULTILINE)
    assert {each.partition("(")[0] for each in re.findall(r"`([^`]+)`", listed)} == {
        *SQL_TYPES,
        "DATE",
    }


def statement_with(construct: str) -> str:
    """A statement that has a construct where it belongs."""
    if "(" in construct or construct == "CURRENT_TIMESTAMP":
        return f"SELECT {construct} AS v FROM events"  # noqa: S608 no database
    return {
        "DISTINCT": "SELECT DISTINCT n FROM events",
        "OVER": "SELECT ABS(n) OVER (PARTITION BY n) AS v FROM events",
        "WITH": "WITH a AS (SELECT n FROM events) SELECT n FROM a",
        "EXISTS": "SELECT n FROM events WHERE EXISTS (SELECT 1)",
        "SELECT": "SELECT (SELECT n FROM events) AS v FROM events",
    }.get(construct, f"SELECT n FROM events WHERE n > 1 {construct} n")  # noqa: S608 no database


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_every_construct_of_the_table_is_refused_by_its_name(construct: str) -> None:
    """The sentence begins with it."""
    with pytest.raises(DeclarationError) as caught:
        columns(statement_with(construct))
    (problem,) = caught.value.problems
    assert problem.code == "INVALID_SQL"
    assert problem.message.startswith(f"sql-1: {construct.partition('(')[0]} ")
