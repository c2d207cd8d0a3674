"""`headwater diff`: what another definition of a product would publish otherwise, on real data."""

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from headwater.assembly.addresses import resolve
from headwater.assembly.diff import (
    Allowance,
    Compared,
    Comparison,
    DiffOptions,
    PortTally,
    RefusedTally,
    load_candidate,
    outside,
    stop_text,
)
from headwater.assembly.project import load_product
from headwater.cli.arguments import Format, FormatOption, Product
from headwater.cli.interruption import keeping
from headwater.cli.progress import progress_bar
from headwater.cli.tables import show, table
from headwater.cli.words import counted
from headwater.config import load_settings
from headwater.errors import DifferenceError
from headwater.model import Partition, RuleViolation

COUNTS: Final = ("today", "candidate", "equal", "added", "removed", "changed")

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: headwater diff operations.departure-delays --candidate ../next"
    " --allow changed:late. Exit codes: 0 equal, or different only where allowed; 1 different"
    " beyond that; 2 nothing to compare on; 69 broker or registry away; 78 configuration or"
    " declaration."
)
def diff(  # noqa: PLR0913, PLR0917  # one parameter per option
    product: Product,
    candidate: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="The other definition: a product.py, its folder, or the root of another checkout"
            " with its own schemas.",
        ),
    ],
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="What may differ: added, removed, changed, changed:COLUMN; repeatable.",
        ),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Only the last N offsets of each partition; by default all."
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(metavar="N", min=0, help="Differing rows to show, of each kind and port.")
    ] = 5,
    form: FormatOption = Format.TEXT,
) -> None:
    """Compare the data that two definitions of a product make of the same real input.

    Reads the inputs from their beginning (or the last N offsets) to their read_committed end of
    now, runs both definitions over them, and compares the outputs row by row: what is made of an
    input record by today's definition stands beside what the candidate makes of it, by key.
    Records that only one of them sets aside are counted too. A rule of severity `stop` stops
    neither: where a run would end is told, and what is behind it is compared all the same.
    Steps with state begin with none on both sides, and the end of the cut closes what waits; rows
    that no single record made, as windows, are matched by key and start of the window.

    Nothing is published, committed or registered: topics, groups and subjects stay as they are.
    """
    options = DiffOptions(Allowance.parse(allow or ()), last, sample)
    today = load_product(product)
    other = load_candidate(candidate, today)
    with outside(resolve(load_settings())) as read_from:
        comparison = Comparison(today, other, read_from)
        with (
            keeping("nothing was decided, and nothing changed"),
            progress_bar(today.name) as progress,
        ):
            compared = comparison.run(options, progress)
    about = {"product": today.name, "candidate": os.path.relpath(other.file)}
    if form is Format.JSON:
        print(json.dumps(about | _fields(compared)))
    else:
        _show(about, compared)
    _raise_beyond(today.name, compared)


def _raise_beyond(name: str, compared: Compared) -> None:
    beyond = compared.beyond()
    if not beyond:
        return
    flags = dict.fromkeys(f"--allow {each.flag}" for each in beyond if each.flag)
    allowing = f", or allow what is meant: {' '.join(flags)}" if flags else ""
    raise DifferenceError(
        f"The candidate of {name} differs: {'; '.join(each.text for each in beyond)}. Correct it"
        f"{allowing}."
    )


def _outcome(compared: Compared) -> str:
    if compared.beyond():
        return "different"
    return "allowed" if compared.findings() else "equal"


def _fields(compared: Compared) -> dict[str, Any]:
    return {
        "outcome": _outcome(compared),
        "records": compared.records,
        "cut": [
            {"topic": place.topic, "partition": place.index, "start": start, "end": end}
            for place, (start, end) in sorted(compared.cut.items())
        ],
        "ports": [_port(port, tally) for port, tally in compared.ports.items()],
        "dead_letters": _refused(compared.refused),
        "stops": {
            "today": _stops(compared.stops.today),
            "candidate": _stops(compared.stops.candidate),
        },
        "differences": [
            {
                "text": each.text,
                "allow": each.flag,
                "is_allowed": compared.allowance.takes(each),
            }
            for each in compared.findings()
        ],
    }


def _refused(tally: RefusedTally) -> dict[str, dict[str, int]]:
    # not asdict: it makes a Counter anew out of pairs, and counts those
    return {each.name: dict(getattr(tally, each.name)) for each in fields(tally)}


def _stops(stops: Mapping[Partition, RuleViolation]) -> list[dict[str, Any]]:
    return [
        {
            "topic": place.topic,
            "partition": place.index,
            "offset": each.offset,
            "contract": each.topic,
            "rule": each.rule,
        }
        for place, each in sorted(stops.items())
    ]


def _port(port: str | None, tally: PortTally) -> dict[str, Any]:
    return {
        "port": port,
        "topic": tally.topic,
        "is_in": [
            side
            for side, contract in (("today", tally.today), ("candidate", tally.candidate))
            if contract is not None
        ],
        "key": [each.name for each in tally.key],
        "rows": {name: tally.rows[name] for name in COUNTS},
        "columns": dict(tally.columns),
        "columns_added": tally.layout.added,
        "columns_removed": tally.layout.removed,
        "columns_retyped": tally.layout.retyped,
        "sample": tally.sample.rows(),
    }


def _show(about: dict[str, str], compared: Compared) -> None:
    topics = ", ".join(sorted({place.topic for place in compared.cut}))
    print(f"{about['product']} beside {about['candidate']}")
    print(f"{counted(compared.records, 'record')} read of {topics}\n")
    rows = table("rows of", *COUNTS, numbers=COUNTS)
    for tally in compared.ports.values():
        rows.add_row(tally.topic, *(f"{tally.rows[name]:,}" for name in COUNTS))
    show(rows)
    for finding in compared.findings():
        mark = "allowed" if compared.allowance.takes(finding) else "differs"
        print(f"  {mark}: {finding.text}")
    if both := compared.stops.shared():
        print(f"  Both stop at {stop_text(both)}")
    for tally in compared.ports.values():
        for name, (one, other) in tally.layout.retyped.items():
            print(f"  {name} of {tally.topic} is {other}, today {one}")
        _show_sample(tally)
    if not compared.findings():
        print("Equal.")


def _show_sample(tally: PortTally) -> None:
    rows = tally.sample.rows()
    if not rows:
        return
    topics = ", ".join(sorted({row["topic"] for row in rows if row["topic"] is not None}))
    print(f"\nSome rows of {tally.topic}" + (f"\nby their records of {topics}" if topics else ""))
    made = table("kind", "record", "key", "what", numbers={"record"})
    for row in rows:
        has_place = row["topic"] is not None
        place = "[{partition}]@{offset}".format(**row) if has_place else "several"
        key = ", ".join(str(value) for value in row["key"].values())
        made.add_row(row["kind"], place, key, _what(row))
    show(made)


def _what(row: dict[str, Any]) -> str:
    if "row" in row:
        return ", ".join(f"{name}={_text(value)}" for name, value in row["row"].items())
    return ", ".join(
        f"{name}: {_text(pair['today'])} -> {_text(pair['candidate'])}"
        for name, pair in row["columns"].items()
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
