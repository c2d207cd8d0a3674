"""`headwater test`: run a product on its samples and compare with what it must make of them."""

import json
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from headwater.assembly.driver import ProductDriver
from headwater.assembly.project import load_product, told
from headwater.assembly.samples import Result, cases, run_case
from headwater.cli.arguments import Format, FormatOption, Product
from headwater.cli.words import counted
from headwater.errors import DeclarationError, DifferenceError, Problem

app = typer.Typer(add_completion=False)

DIFF_STYLES = {"-": "red", "+": "green", "@": "cyan"}


@app.command(
    epilog="Example: headwater test operations.departure-delays. "
    "Files: samples/<case>.in.jsonl and <case>.out.jsonl; <case>.in.<topic>.jsonl and "
    "<case>.out.<port>.jsonl where there are several; <case>.dead-letters.jsonl with lines such "
    'as {"event": 3, "code": "STEP_FAILED"}. '
    "Exit codes: 0 all as expected, 1 a difference, 78 a mistake in the product or the samples."
)
def run_samples(product: Product, form: FormatOption = Format.TEXT) -> None:
    """Run a product on samples/*.jsonl, without a broker, and show what differs."""
    loaded = load_product(product, Path.cwd())
    try:
        driver = ProductDriver(loaded)
        results = [run_case(case, driver) for case in cases(loaded.samples)]
    except DeclarationError as error:
        raise told(error.problems) from error
    if not results:
        text = "has no samples; write samples/<case>.in.jsonl and samples/<case>.out.jsonl"
        raise told([Problem("NO_SAMPLES", text, str(loaded.file.parent))])
    if form is Format.JSON:
        print(json.dumps([asdict(result) for result in results]))
    else:
        _show(results)
    failed = [result.case for result in results if result.differences]
    if failed:
        raise DifferenceError(
            f"{loaded.name}: {len(failed)} of {len(results)} cases differ: {', '.join(failed)}."
        )


def _show(results: list[Result]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for result in results:
        verdict = Text("differs", "red") if result.differences else Text("ok", "green")
        console.print(
            Text(f"{result.case}: "),
            verdict,
            Text(
                f" ({result.events_in} in, {result.events_out} out,"
                f" {counted(result.dead_letters, 'dead letter')})"
            ),
            sep="",
        )
        for line in result.warnings:
            console.print(Text(f"  warning: {line}", "yellow"))
        for line in result.differences:
            console.print(Text(f"  {line}", DIFF_STYLES.get(line[:1], "")))
