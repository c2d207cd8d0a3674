"""`headwater overlap`: how many identities two products have in common."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from headwater.assembly.project import load_product
from headwater.assembly.statistics import StatisticsAt, statistics_readers
from headwater.assembly.table_formats import SnapshotTables
from headwater.cli.arguments import Format, FormatOption, Product, Tables
from headwater.cli.estimates import about, part, when
from headwater.cli.tables import show, table
from headwater.config import Settings, load_settings
from headwater.snapshot import overlap as keys

app = typer.Typer(add_completion=False)

Other = Annotated[str, typer.Argument(metavar="PRODUCT", help="Name, folder or file of a product.")]


@app.command(
    epilog="Example: headwater overlap operations.departure-delays experience.weather-delays."
    " Exit codes: 0 done; 2 there is no snapshot, it has no statistics, or a key has no sketch; 69"
    " storage away; 78 configuration, declaration, or a damaged table or file."
)
def overlap(
    product: Product,
    other: Other,
    to: Tables = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Estimate how many keys two products share, from the sketches of their newest snapshots.

    Keys are the same when their values are, whatever their fields are called. Every number comes
    with bounds that hold in 997 of 1,000 cases, the part of all keys in 95 of 100; up to some
    thousand keys it is exact. Needs neither broker nor registry, and reads no row.
    """
    settings = load_settings()
    for one in _newest(product, settings, to):
        for two in _newest(other, settings, to):
            found = keys.overlap(one.table, two.table)
            if form is Format.JSON:
                print(json.dumps(_fields(one, two, found)))
            else:
                _show(one, two, found)


def _newest(product: str, settings: Settings, to: str | None) -> list[StatisticsAt]:
    loaded = load_product(product)
    tables = SnapshotTables.of(settings, loaded.name, to)
    return [reader.read() for _, reader in statistics_readers(loaded, tables)]


def _fields(one: StatisticsAt, two: StatisticsAt, found: keys.Overlap) -> dict[str, Any]:
    return {
        "one": {**_cut(one), "keys": asdict(found.one), "in_both": asdict(found.of_one)},
        "other": {**_cut(two), "keys": asdict(found.other), "in_both": asdict(found.of_other)},
        "common": asdict(found.common),
        "jaccard": asdict(found.jaccard),
    }


def _cut(found: StatisticsAt) -> dict[str, Any]:
    kept = found.table
    return {
        "topic": kept.topic,
        "version": found.version,
        "commit_id": kept.commit_id,
        "committed_at": when(kept.committed_at_ms),
        "key": kept.key,
    }


def _show(one: StatisticsAt, two: StatisticsAt, found: keys.Overlap) -> None:
    made = table("topic", "key", "cut", "keys", "of them in both")
    sides = ((one, found.one, found.of_one), (two, found.other, found.of_other))
    for at, count, share in sides:
        cut = f"version {at.version}, {when(at.table.committed_at_ms)}"
        made.add_row(at.table.topic, ", ".join(at.table.key), cut, about(count), part(share))
    show(made)
    print(f"in both: {about(found.common)}; of all keys {part(found.jaccard)}")
