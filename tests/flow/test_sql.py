"""`.sql()`: projection and selection of one row at a time, and nothing else."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from headwater import DataProduct, Flow
from headwater.errors import DeclarationError
from headwater.flow import ROW, Columns, Plan, Processed, check_row_local
from headwater.flow.sql_statement import MAX_TOKENS
from headwater.model import Code

COLUMNS: Columns = {
    "id": pl.String(),
    "n": pl.Int64(),
    "m": pl.Int64(),
    "x": pl.Float64(),
    "at": pl.Datetime("ms", "UTC"),
    "place": pl.Struct({"lat": pl.Float64()}),
    "kind": pl.Enum(["a", "b"]),
    "count": pl.Int64(),
    "day": pl.Date(),
    "end": pl.Int64(),
}
FILE = Path(__file__).name


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


def rows(**columns: list[Any]) -> pl.DataFrame:
    """A frame of these columns, the others null."""
    height = len(next(iter(columns.values())))
    data = {name: columns.get(name, [None] * height) for name in COLUMNS}
    index = pl.Series(ROW, range(height), dtype=pl.UInt32)
    return pl.DataFrame(data, schema=COLUMNS).insert_column(0, index)


def run(statement: str, frame: pl.DataFrame) -> Processed:
    """A statement on a frame."""
    return Plan(stream().sql(statement), COLUMNS).process(frame)


def written(values: list[str], predicate: str | None) -> str:
    """The statement of these parts."""
    columns = ", ".join(f"{value} AS c{place}" for place, value in enumerate(values))
    where = "" if predicate is None else f"WHERE {predicate}"
    return f"SELECT {columns} FROM events {where}"  # noqa: S608 no database: a statement over columns


def refused(statement: Any) -> str:
    """The one problem of a statement, with file and line."""
    flow = stream().sql(statement)
    with pytest.raises(DeclarationError) as caught:
        Plan(flow, COLUMNS)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (flow.steps[0].origin.file, flow.steps[0].origin.line)
    return f"{problem.code} {problem.message}"


def test_a_statement_selects_rows_and_columns_and_the_row_goes_with_them() -> None:
    """WHERE sees what SELECT leaves out; null is not true."""
    done = run(
        "SELECT id, n * 2 AS twice FROM events WHERE m > 1", rows(n=[1, 2, 3], m=[2, None, 3])
    )
    assert done.frame.drop("id").to_dict(as_series=False) == {ROW: [0, 2], "twice": [2, 6]}
    assert done.frame.schema[ROW] == pl.UInt32
    assert done.quarantined == []


def test_all_columns_are_those_of_the_contract() -> None:
    """`*` neither shows nor loses `_row`."""
    plan = Plan(stream().sql("SELECT *, n + m AS sum FROM events"), COLUMNS)
    assert plan.columns == {**COLUMNS, "sum": pl.Int64()}
    done = plan.process(rows(n=[1], m=[2]))
    assert done.frame.columns == [ROW, *COLUMNS, "sum"]
    assert done.frame["sum"].to_list() == [3]
    assert done.quarantined == []


def test_a_minus_before_a_sign_is_no_comment() -> None:
    """Two of them without a space between would be one."""
    done = run("SELECT n - -3 AS more FROM events", rows(n=[1]))
    assert done.frame["more"].to_list() == [4]
    assert "no comments" in refused("SELECT n --3 AS more FROM events")


def test_a_constant_stands_in_every_row() -> None:
    """Also where it is the predicate, and where there are no rows."""
    statement = "SELECT 'a' AS kind, 1 AS one FROM events WHERE TRUE"
    assert run(statement, rows(n=[1, 2])).frame["kind"].to_list() == ["a", "a"]
    assert run(statement, rows(n=[1, 2]).clear()).frame.columns == [ROW, "kind", "one"]
    assert run("SELECT n FROM events WHERE FALSE", rows(n=[1, 2])).frame.is_empty()


def test_the_types_that_come_out_are_known_without_data() -> None:
    """So that they are compared with the output contract by `headwater check`."""
    statement = (
        "SELECT place.lat, count, day, \"end\", at - INTERVAL '1 hour' AS before FROM events"
    )
    assert Plan(stream().sql(statement), COLUMNS).columns == {
        "lat": pl.Float64(),
        "count": pl.Int64(),
        "day": pl.Date(),
        "end": pl.Int64(),
        "before": pl.Datetime("ms", "UTC"),
    }


def test_hours_and_lengths_do_not_wrap_around() -> None:
    """Polars has eight bits for an hour and no sign for a length."""
    frame = rows(id=["a"], at=[1_357_081_200_000])
    minutes = "EXTRACT(HOUR FROM at) * 60 + EXTRACT(MINUTE FROM at)"
    done = run(written([minutes, "LENGTH(TRIM(id)) - 2"], None), frame)
    assert done.frame.row(0) == (0, 23 * 60, -1)


def test_a_value_that_cannot_be_cast_sets_its_row_aside() -> None:
    """And only that of a row for which WHERE is true; the text does not leak."""
    statement = "SELECT CAST(id AS BIGINT) AS number FROM events WHERE n > 0"
    done = run(statement, rows(id=["1", "secret", "secret", "4"], n=[1, 1, 0, 1]))
    assert done.frame["number"].to_list() == [1, 4]
    assert [(q.row, q.code, q.step) for q in done.quarantined] == [(1, Code.STEP_FAILED, "sql-1")]
    assert "secret" not in done.quarantined[0].message
    assert f"at tests/flow/{FILE}:" in done.quarantined[0].message


def test_statements_follow_each_other_and_other_steps() -> None:
    """What would be a subquery is a second step."""
    flow = stream().filter(pl.col("n") > 1).sql("SELECT n AS k FROM events")
    flow = flow.sql("SELECT k * 2 AS j FROM events WHERE k < 4").select(pl.col("j") + 1)
    assert Plan(flow, COLUMNS).process(rows(n=[1, 2, 3, 4])).frame["j"].to_list() == [5, 7]


def test_a_statement_runs_behind_a_map_whose_columns_only_data_can_tell() -> None:
    """What it may say does not depend on the columns."""

    def needy(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(first=pl.lit(frame["n"].to_list()[0]))

    done = Plan(stream().map(needy).sql("SELECT first FROM events"), COLUMNS).process(rows(n=[7]))
    assert done.frame["first"].to_list() == [7]
    with pytest.raises(DeclarationError, match="RESERVED_NAME: sql-1"):
        Plan(stream().map(needy).sql("SELECT first AS _row FROM events"), COLUMNS)
    with pytest.raises(DeclarationError, match="SUM looks at more than one event"):
        Plan(stream().map(needy).sql("SELECT SUM(first) AS s FROM events"), COLUMNS)


MANY = "looks at more than one event: compute it over a snapshot"
OTHER = "reads more than events: join the snapshots"
NEXT = "begins a statement in a statement: write two .sql() steps"
UNION = "puts statements together: publish each flow under a port"
ENDLESS = "counts rows, and a stream has no end: choose rows by their values with WHERE"
ORDER = "changes the order, which is that of the log: leave it out"
SEVERAL = "makes several rows of one: return them from .map_events()"
ANOTHER = "is another at every look, and a replay must find the same: use a column"


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("SELECT n FROM events JOIN other ON n = k", f"JOIN {OTHER}"),
        ("SELECT n FROM events LEFT JOIN other USING (n)", f"JOIN behind events {OTHER}"),
        ("SELECT n FROM events CROSS JOIN other", f"CROSS {OTHER}"),
        ("SELECT n FROM events, other", f"a comma behind events {OTHER}"),
        ("SELECT n FROM events GROUP BY n", f"GROUP BY {MANY}"),
        ("SELECT n FROM events WHERE n > 1 GROUP BY n", f"GROUP BY {MANY}"),
        ("SELECT n FROM events HAVING n > 1", f"HAVING {MANY}"),
        ("SELECT DISTINCT n FROM events", f"DISTINCT {MANY}"),
        ("SELECT n FROM events QUALIFY n > 1", f"QUALIFY {MANY}"),
        ("SELECT n FROM events WHERE n > 1 WINDOW w AS (PARTITION BY n)", f"WINDOW {MANY}"),
        ("SELECT COUNT(*) AS c FROM events", f"COUNT {MANY}"),
        ("SELECT sum(n) AS s FROM events", f"SUM {MANY}"),
        ('SELECT "sum"(n) AS s FROM events', f"SUM {MANY}"),
        ("SELECT n FROM events WHERE n > MAX(n)", f"MAX {MANY}"),
        ("SELECT LAG(n) AS before FROM events", f"LAG {MANY}"),
        ("SELECT ABS(n) OVER (PARTITION BY m) AS a FROM events", f"OVER {MANY}"),
        ("SELECT ABS(n) OVER w AS a FROM events", f"OVER {MANY}"),
        ("SELECT n > ALL(m) AS a FROM events", f"ALL {MANY}"),
        ("SELECT (SELECT n FROM events) AS a FROM events", f"SELECT {NEXT}"),
        ("SELECT n FROM events WHERE n IN (SELECT m FROM events)", f"SELECT {NEXT}"),
        ("SELECT n FROM events WHERE EXISTS (SELECT 1)", f"EXISTS {NEXT}"),
        ("SELECT n FROM (SELECT n FROM events)", f"FROM (...) {NEXT}"),
        ("WITH a AS (SELECT n FROM events) SELECT n FROM a", f"WITH {NEXT}"),
        ("SELECT n FROM events UNION ALL SELECT n FROM events", f"UNION {UNION}"),
        ("SELECT n FROM events WHERE n > 1 EXCEPT SELECT n FROM events", f"EXCEPT {UNION}"),
        ("SELECT n FROM events LIMIT 5", f"LIMIT {ENDLESS}"),
        ("SELECT n FROM events WHERE n > 1 OFFSET 5", f"OFFSET {ENDLESS}"),
        ("SELECT n FROM events FETCH FIRST 5 ROWS ONLY", f"FETCH {ENDLESS}"),
        ("SELECT n FROM events ORDER BY n", f"ORDER BY {ORDER}"),
        ("SELECT n FROM events WHERE n > 1 ORDER BY n", f"ORDER BY {ORDER}"),
        ("SELECT UNNEST(n) AS a FROM events", f"UNNEST {SEVERAL}"),
        ("SELECT explode(n) AS a FROM events", f"EXPLODE {SEVERAL}"),
        ("SELECT NOW() AS t FROM events", f"NOW {ANOTHER}"),
        ("SELECT current_date AS t FROM events", f"CURRENT_DATE {ANOTHER}"),
        ("SELECT n FROM events WHERE at < CURRENT_TIMESTAMP", f"CURRENT_TIMESTAMP {ANOTHER}"),
        ("SELECT RANDOM() AS r FROM events", f"RANDOM {ANOTHER}"),
        ("SELECT UUID() AS r FROM events", f"UUID {ANOTHER}"),
        ("SELECT COLUMNS('n') AS a FROM events", "there is no function COLUMNS"),
        (
            "SELECT lengths(id) AS a FROM events",
            "there is no function LENGTHS; did you mean LENGTH?",
        ),
        ("SELECT n XOR m AS a FROM events", "XOR is no column where it stands"),
    ],
)
def test_what_is_no_projection_or_selection_is_refused_with_what_to_do(
    statement: str, reason: str
) -> None:
    """The construct is named; nothing is dropped in silence."""
    assert refused(statement).startswith(f"INVALID_SQL sql-1: {reason}")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("", "it is empty"),
        ("DROP TABLE events", "it begins with DROP"),
        ("SELECT n", "it has no FROM events"),
        ("SELECT n FROM flights", "it reads from flights, not events"),
        ("SELECT n FROM Events", "it reads from Events, not events"),
        ("SELECT n FROM read_csv('x')", "it reads from read_csv, not events"),
        ("SELECT e.n FROM events e", "e behind events has no meaning here"),
        ("SELECT n FROM events; DROP TABLE events", "';' has no meaning here"),
        ("SELECT n -- all of them\nFROM events", "there are no comments in it"),
        ("SELECT n, FROM events", "a column is missing between SELECT, the commas and FROM"),
        ("SELECT n FROM events WHERE", "nothing stands behind WHERE"),
        ("SELECT n), (m FROM events", "a ) closes what was not opened"),
        ("SELECT n + 1 FROM events", "n + 1 has no name; write n + 1 AS"),
        ("SELECT n n FROM events", "n n has a name without AS"),
        ("SELECT n n AS k FROM events", "n n has a name without AS"),
        ("SELECT n FROM events WHERE n > 1 n", "n > 1 n has a name without AS"),
        ("SELECT n AS k, m AS k FROM events", "2 columns that come out are named k"),
        ("SELECT *, m AS n FROM events", "2 columns that come out are named n"),
        ("SELECT n FROM events WHERE m", "WHERE gives Int64, not true or false"),
        ("SELECT n FROM events WHERE NULL", "WHERE gives Null, not true or false"),
        ("SELECT _row FROM events", "the column _row is Headwater's own"),
        ("SELECT n FROM events WHERE _row > 1", "the column _row is Headwater's own"),
        ("SELECT n + AS k FROM events", "n + is not understood"),
        ("SELECT * EXCLUDE (n) FROM events", "there is no function EXCLUDE"),
        ("SELECT n FROM events WHERE (n > 1", "(n > 1 is not understood"),
        (
            "SELECT n FROM events WHERE at > TIMESTAMP '2013-01-01 00:00:00'",
            "WHERE: a time is compared",
        ),
        ("SELECT n FROM events WHERE at > '2013-01-01'", "WHERE: a time is compared with its like"),
        (
            "SELECT TIMESTAMP '2013-01-01 00:00:00+02:00' AS t FROM events",
            "TIMESTAMP knows no zone",
        ),
        ("SELECT n FROM events WHERE id = 1", "WHERE: a text is not compared with a number"),
        ("SELECT LOWER(kind) AS k FROM events", "k: it cannot be computed over these types"),
        ('SELECT "^n.*$" AS k FROM events', "^n.*$ is no column where it stands"),
        ('SELECT "*" FROM events', "* is no column where it stands"),
        (written(["n + " * MAX_TOKENS + "n"], None), "n + n + n"),
        (written(["(" * 40 + "n" + ")" * 40], None), "it nests deeper than 32 parentheses"),
    ],
)
def test_a_statement_that_is_none_is_refused_in_one_sentence(statement: str, problem: str) -> None:
    """Before anything runs."""
    found = refused(statement)
    assert found.startswith(f"INVALID_SQL sql-1: {problem}")
    assert "\n" not in found


def test_other_mistakes_have_the_codes_they_have_in_other_steps() -> None:
    """Names of columns are written as they are in the contract, capitals too."""
    assert refused("SELECT nn FROM events").startswith(
        "UNKNOWN_COLUMN sql-1: no column 'nn' here; did you mean 'n'?"
    )
    assert refused("SELECT N FROM events").startswith("UNKNOWN_COLUMN sql-1: no column 'N' here")
    assert refused("SELECT n AS _row FROM events").startswith("RESERVED_NAME sql-1: the name _row")
    assert refused('SELECT n AS "_Offset" FROM events').startswith("RESERVED_NAME")
    assert refused(None).startswith("INVALID_STEP sql-1: takes a text")


NUMBERS = st.sampled_from(["n", "m", "count", "1", "7", "-3", "LENGTH(id)"])
TEXTS = st.sampled_from(["id", "'a'", "UPPER(id)", "id || 'x'", "COALESCE(id, '')", "LEFT(id, 1)"])
ARITHMETIC = st.tuples(NUMBERS, st.sampled_from(["+", "-", "*", "%"]), NUMBERS).map(" ".join) | (
    # by a column: of a number written out Polars takes the reciprocal, but of one row it does not
    st.tuples(NUMBERS, st.sampled_from(["n", "m"])).map(" / ".join)
)
VALUES = NUMBERS | TEXTS | ARITHMETIC | st.just("CASE WHEN n > m THEN id ELSE 'none' END")
COMPARED = st.tuples(
    NUMBERS | ARITHMETIC, st.sampled_from(["<", "=", "<>", ">=", "IS DISTINCT FROM"]), NUMBERS
).map(" ".join)
TESTS = COMPARED | st.sampled_from(
    ["id LIKE '%a%'", "n IS NULL", "n IN (1, m)", "m BETWEEN 0 AND n", "id ~ '^[ab]'", "TRUE"]
)
PREDICATES = st.recursive(
    TESTS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
            lambda each: f"({' '.join(each)})"
        )
        | inner.map(lambda each: f"NOT ({each})")
    ),
    max_leaves=4,
)
INTEGERS = st.none() | st.integers(-5, 5)
FRAMES = st.lists(
    st.tuples(st.none() | st.text("abx", max_size=3), INTEGERS, INTEGERS, INTEGERS), max_size=8
).map(
    lambda made: rows(
        id=[each[0] for each in made],
        n=[each[1] for each in made],
        m=[each[2] for each in made],
        count=[each[3] for each in made],
    )
)


@given(st.lists(VALUES, min_size=1, max_size=3), st.none() | PREDICATES, FRAMES, st.integers(0, 8))
@settings(max_examples=150, deadline=None)
def test_a_statement_is_select_and_filter_and_knows_no_batches(
    values: list[str], predicate: str | None, frame: pl.DataFrame, cut: int
) -> None:
    """Equal to the same in other steps, to Polars' own reading of it, and in any batches."""
    statement = written(values, predicate)
    plan = Plan(stream().sql(statement), COLUMNS)
    done = plan.process(frame).frame
    steps = stream() if predicate is None else stream().filter(pl.sql_expr(predicate))
    made = {f"c{place}": pl.sql_expr(value) for place, value in enumerate(values)}
    types: dict[Any, Any] = {ROW: pl.UInt32, **(plan.columns or {})}
    other = Plan(steps.select(**made), COLUMNS).process(frame).frame
    polars = pl.SQLContext(events=frame.lazy(), eager=True).execute(statement)
    assert isinstance(polars, pl.DataFrame)
    if "LENGTH" not in statement:  # unsigned in Polars, where ours is a number like any other
        assert_frame_equal(done, other.cast(types))
        assert_frame_equal(done.drop(ROW), polars.cast({k: types[k] for k in polars.columns}))
    parts = frame.head(cut), frame.slice(cut)
    pieces = [plan.process(part).frame for part in parts if part.height]
    assert not pieces or pl.concat(pieces).equals(done)
    check_row_local(plan, frame)
