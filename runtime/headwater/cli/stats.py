"""`headwater stats`: what is known of a snapshot's columns at a cut, without reading its data."""

import json
from typing import Annotated, Any, Final

import typer

from headwater.assembly.project import load_product
from headwater.assembly.statistics import StatisticsAt, statistics_readers
from headwater.assembly.table_formats import SnapshotTables
from headwater.cli.arguments import Format, FormatOption, Product, Tables
from headwater.cli.estimates import about, percent, when
from headwater.cli.tables import show, table
from headwater.cli.words import counted
from headwater.config import load_settings
from headwater.snapshot.column_statistics import ColumnStatistics
from headwater.snapshot.drift import ColumnDrift, drift
from headwater.snapshot.shown import estimate, quantiles, shown

RANKS: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MOST: Final = 10  # heavy hitters in JSON
MOST_SHOWN: Final = 3  # in a table
WIDEST: Final = 32  # characters of a value in a table
FOOTNOTE: Final = "~ is within 5 %; ranks (5 %, median, 95 %) are within 1.3 % of the rows"

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: headwater stats operations.departure-delays --compare 2026-11-01."
    " Exit codes: 0 done, whatever moved; 2 there is no such cut, or it has no statistics; 69"
    " storage away; 78 configuration, declaration, or a damaged table or file."
)
def stats(
    product: Product,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="CUT",
            help="A table version, a commit id or a time; the newest by default.",
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="CUT", help="Tell what moved since this cut."),
    ] = None,
    to: Tables = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Show the columns of a product's snapshots at a cut: counts, bounds, distribution.

    They were frozen with the commit and are read without its data; a time means the newest cut that
    is not behind it. Distinct values, quantiles and heavy hitters are estimates of Apache
    DataSketches, with their bounds. Values of fields whose sensitivity is personal or secret are
    never kept. Needs neither broker nor registry.
    """
    loaded = load_product(product)
    tables = SnapshotTables.of(load_settings(), loaded.name, to)
    for topic, reader in statistics_readers(loaded, tables):
        found = reader.read(at)
        if compare is None:
            _tell(form, loaded.name, topic, found)
        else:
            _tell_drift(form, {"product": loaded.name, "topic": topic}, reader.read(compare), found)


# -- one cut ---------------------------------------------------------------------------------------


def _tell(form: Format, product: str, topic: str, found: StatisticsAt) -> None:
    columns = list(found.table.columns.values())
    if form is Format.JSON:
        fields = {"product": product, "topic": topic, **_cut(found)}
        print(json.dumps({**fields, "columns": [_fields(each) for each in columns]}))
        return
    print(f"{topic} at {_place(found)}: {counted(found.table.rows, 'row')}")
    if found.table.identities is not None:
        keys = about(found.table.identities.estimate())
        print(f"keys ({', '.join(found.table.key)}): {keys}")
    numbers = {"nulls", "distinct", "least", "5 %", "median", "95 %", "greatest"}
    made = table(
        *("column", "unit", "nulls", "distinct", "least", "5 %", "median", "95 %", "greatest"),
        "most frequent",
        numbers=numbers,
    )
    for each in columns:
        made.add_row(*_cells(each))
    show(made)
    print(FOOTNOTE)


def _cut(found: StatisticsAt) -> dict[str, Any]:
    kept = found.table
    identities = None if kept.identities is None else kept.identities.estimate()
    return {
        "version": found.version,
        "commit_id": kept.commit_id,
        "committed_at": when(kept.committed_at_ms),
        "cut": kept.cut,
        "rows": kept.rows,
        "key": kept.key,
        "keys": estimate(identities),
    }


def _place(found: StatisticsAt) -> str:
    kept = found.table
    return f"version {found.version} ({kept.commit_id[:8]}, {when(kept.committed_at_ms)})"


def _fields(column: ColumnStatistics) -> dict[str, Any]:
    frequent = None if column.frequent is None else column.frequent.most(MOST)
    return {
        "name": column.name,
        "kind": column.kind,
        "unit": column.unit,
        "doc": column.doc,
        "sensitivity": column.sensitivity,
        "rows": column.rows,
        "nulls": column.nulls,
        "nans": column.nans,
        "least": shown(column.least, column.kind),
        "greatest": shown(column.greatest, column.kind),
        "distinct": _distinct(column),
        "quantiles": quantiles(column, RANKS),
        "frequent": None
        if frequent is None
        else [{"value": each.value, "low": each.low, "high": each.high} for each in frequent],
    }


def _distinct(column: ColumnStatistics) -> dict[str, Any] | None:
    return None if column.distinct is None else estimate(column.distinct.estimate())


def _cells(column: ColumnStatistics) -> list[str]:
    at = quantiles(column, (0.05, 0.5, 0.95)) or {}
    return [
        column.name,
        column.unit or "",
        percent(column.nulls / column.rows if column.rows else 0),
        "" if column.distinct is None else about(column.distinct.estimate(), is_short=True),
        _value(shown(column.least, column.kind)),
        *(_value(at.get(rank)) for rank in ("0.05", "0.5", "0.95")),
        _value(shown(column.greatest, column.kind)),
        f"({column.sensitivity})" if column.is_masked else _most(column),
    ]


def _most(column: ColumnStatistics) -> str:
    """Heavy hitters that are certain to have come more than once."""
    found = [] if column.frequent is None else column.frequent.most(MOST_SHOWN)
    return ", ".join(
        f"{_value(each.value)} {percent(each.low / column.rows)}" for each in found if each.low > 1
    )


def _value(value: float | str | None) -> str:
    if value is None:
        return ""
    text = f"{value:,.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


# -- two cuts --------------------------------------------------------------------------------------


def _tell_drift(
    form: Format, names: dict[str, str], earlier: StatisticsAt, later: StatisticsAt
) -> None:
    found = drift(earlier.table, later.table)
    if form is Format.JSON:
        cuts = {"earlier": _cut(earlier), "later": _cut(later)}
        print(json.dumps({**names, **cuts, "columns": [_drift_fields(each) for each in found]}))
        return
    rows = f"{earlier.table.rows:,} to {counted(later.table.rows, 'row')}"
    print(f"{names['topic']} from {_place(earlier)} to {_place(later)}: {rows}")
    made = table("column", "unit", "verdict", "nulls", "distinct", "median", "what moved")
    for each in found:
        style = "yellow" if each.verdict != "alike" else None
        made.add_row(*_drift_cells(each), style=style)
    show(made)


def _drift_fields(column: ColumnDrift) -> dict[str, Any]:
    return {
        "name": column.name,
        "verdict": column.verdict,
        "shifts": [
            {"what": each.what, "size": each.size, "bound": each.bound, "moved": each.is_moved}
            for each in column.shifts
        ],
        "new": column.new,
        "lost": column.lost,
        "earlier": None if column.earlier is None else _fields(column.earlier),
        "later": None if column.later is None else _fields(column.later),
    }


def _drift_cells(column: ColumnDrift) -> list[str]:
    both = [each for each in (column.earlier, column.later) if each is not None]
    cells = [_cells(each) for each in both]
    moved = [
        f"{each.what} by {percent(each.size)}" + (f" ± {percent(each.bound)}" if each.bound else "")
        for each in column.shifts
        if each.is_moved
    ]
    for word, values in (("new", column.new), ("lost", column.lost)):
        if values:
            moved.append(f"{word}: {', '.join(_value(each) for each in values)}")
    nulls, distinct, median = (_arrow([each[place] for each in cells]) for place in (2, 3, 6))
    unit = cells[-1][1]
    return [column.name, unit, column.verdict, nulls, distinct, median, "; ".join(moved)]


def _arrow(values: list[str]) -> str:
    """From the earlier to the later; once where they are the same."""
    return " → ".join(dict.fromkeys(values))
