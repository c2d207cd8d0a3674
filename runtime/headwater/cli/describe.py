"""`headwater describe`: what a product reads, does and publishes."""

import json
from pathlib import Path
from typing import Any

import typer

from headwater.assembly.description import describe as describe_product
from headwater.assembly.project import load_product
from headwater.cli.arguments import Format, FormatOption, Product
from headwater.cli.tables import show, table

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: headwater describe operations.departure-delays --format json."
    " Exit codes: 0 done, 78 declaration."
)
def describe(product: Product, form: FormatOption = Format.TEXT) -> None:
    """Print a product's inputs, steps, output contracts, rules and topics."""
    description = describe_product(load_product(product, Path.cwd()))
    if form is Format.JSON:
        print(json.dumps(description, indent=2))
    else:
        _show(description)


def _show(description: dict[str, Any]) -> None:
    print(f"{description['name']}, owned by {description['owner']}")
    if description["snapshot"]:
        print(
            "snapshot: every {every}, mode {mode}, format {format}".format(
                **description["snapshot"]
            )
        )
    if "keep_order" in description:
        print("dead letters: in order; later records of their keys wait for them")
    for source in description["inputs"]:
        typed = f"type {source['type']} of " if "type" in source else ""
        print("reads: {0}{topic}, contract v{contract}, from {start}".format(typed, **source))
        _show_fate(source)
        _show_rules(source)
    for output in description["outputs"]:
        print("\npublishes: {topic}, contract v{contract}".format(**output))
        _show_fate(output)
        print(f"  from {output['from']}")
        for step in output["steps"]:
            through = f" (through {step['through']})" if "through" in step else ""
            print(f"  -> {step['name']}: {step['does']}{through}  [{step['at']}]")
        print(
            f"  key {', '.join(output['key']) or 'none'},"
            f" event time {output['event_time'] or 'none'}, {output['compatibility']}"
        )
        _show_rules(output)
        made = table("field", "type", "unit", "what it is")
        for field in output["fields"]:
            made.add_row(field["name"], field["type"], field["unit"], field["doc"])
        show(made)
    print(f"\ntopics: {', '.join(description['topics'])}")


def _show_fate(shown: dict[str, Any]) -> None:
    if "fate" in shown:
        print(f"  {shown['fate']}")


def _show_rules(shown: dict[str, Any]) -> None:
    for rule in shown["rules"]:
        print("  rule {name}: {check}  [{severity}]".format(**rule))
    for rule in shown["dataset"]:
        print("  rule over many rows {name}: {check}  [{severity}]".format(**rule))
