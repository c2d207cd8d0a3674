"""Arguments and options that several commands have: named, written and explained in one way."""

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer


class Format(StrEnum):
    """How an answer is written."""

    TEXT = "text"
    JSON = "json"


Product: TypeAlias = Annotated[
    str, typer.Argument(metavar="PRODUCT", help="Name, folder or file of a product.")
]
Products: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="PRODUCT", help="Name, folder or file of a product.")
]
Tables: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="LOCATION",
        help="Of the tables, one per topic: a directory or s3://bucket/prefix; by default the"
        " setting `snapshots`.",
    ),
]
FormatOption: TypeAlias = Annotated[
    Format, typer.Option("--format", help="How to print the answer.")
]
