"""`headwater state`: what is stored of a product's steps on this machine."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from headwater.assembly.project import load_product
from headwater.assembly.state_inspection import InspectedStore, InspectedTask, StateInspection
from headwater.cli.arguments import Format, FormatOption, Product
from headwater.cli.progress import progress_bar
from headwater.cli.tables import show, table
from headwater.cli.words import counted
from headwater.config import load_settings

MS: Final = 1000

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Look at the local state of a product's steps.",
    epilog="Example: headwater state inspect operations.latest-departure latest-1",
)


@app.callback()
def state() -> None:
    """Look at the local state of a product's steps."""


@app.command(
    epilog="Example: headwater state inspect operations.latest-departure latest-1 --key UA-1545."
    " Exit codes: 0 done, 1 there is no such key, 69 the disk refuses, 75 the product runs, 78"
    " configuration, declaration, or state that is damaged or of another release."
)
def inspect(
    product: Product,
    step: Annotated[
        str,
        typer.Argument(
            metavar="STEP",
            help="A step with state, as `describe` names it; of parked keys, the input topic.",
        ),
    ],
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="KEY",
            help="Show the row of this key; a JSON object where a key has several columns.",
        ),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Count the keys of a step's local state by task, and show the row of a key.

    The product must not run. What is stored is the state as of each task's mark, the offset of its
    changelog; what came behind it is read at the next start. Fields whose sensitivity is personal
    or secret are masked, and where a contract has such, so is what no contract names. Needs neither
    broker nor registry.
    """
    loaded = load_product(product)
    inspection = StateInspection(loaded, step, load_settings().state_dir)
    with progress_bar(step) as progress:
        found = list(inspection.stores(key, progress))
    if form is Format.JSON:
        print(json.dumps({"product": loaded.name, "stores": [_fields(each) for each in found]}))
    else:
        for each in found:
            _show(each, key)
    if key is not None and not any(task.found for each in found for task in each.tasks):
        raise typer.Exit(1)


def _fields(store: InspectedStore) -> dict[str, Any]:
    return {**asdict(store), "tasks": [_task(each) for each in store.tasks]}


def _task(task: InspectedTask) -> dict[str, Any]:
    fields = asdict(task)
    if task.mark is not None:
        fields["mark"]["written"] = _time(fields["mark"].pop("written_ms"))
    return fields


def _show(store: InspectedStore, key: str | None) -> None:
    total = counted(sum(each.keys for each in store.tasks), "key")
    columns = ", ".join(f"{name} {dtype}" for name, dtype in store.row.items())
    print(f"{store.output}, step {store.step}: {total} of {', '.join(store.key)} -> {columns}")
    if key is not None:
        rows = [(each.task, each.found) for each in store.tasks if each.found is not None]
        for task, row in rows:
            print(f"  task {task}: {json.dumps(row, ensure_ascii=False)}")
        if not rows:
            print("  there is no such key")
        return
    if not store.tasks:
        print("  nothing is stored on this machine: look where the setting `state_dir` points")
        return
    made = table("task", "keys", "changelog up to", "written", numbers={"task", "keys"})
    for each in store.tasks:
        mark = each.mark
        upto, written = (
            ("nothing vouches for it", "")
            if mark is None
            else (f"{store.changelog}[{each.task}]@{mark.changelog_offset}", _time(mark.written_ms))
        )
        made.add_row(str(each.task), f"{each.keys:,}", upto, written)
    show(made)


def _time(milliseconds: int) -> str:
    time = datetime.fromtimestamp(milliseconds / MS, UTC)
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
