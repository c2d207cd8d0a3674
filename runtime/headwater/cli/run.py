"""`headwater run`: process one or many products, exactly once; `running` does it."""

from typing import Annotated

import typer

from headwater.cli.arguments import Format, FormatOption, Products
from headwater.model import OnIncompatible

app = typer.Typer(add_completion=False)


UntilEnd = Annotated[
    bool, typer.Option("--until-end", help="Stop at the read_committed end of now.")
]
Register = Annotated[
    bool, typer.Option("--register", help="Publish the output contracts first (always in dev).")
]
From = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="TIME",
        help="Where to begin when the group has no offsets: earliest, latest, or a time with zone.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Processes per product, which share its partitions; at most as many as there are.",
    ),
]
WithSnapshots = Annotated[
    bool,
    typer.Option(
        "--with-snapshots",
        help="Take snapshots beside it, as often as the product declares, in a child process.",
    ),
]
Incompatible = Annotated[
    OnIncompatible | None,
    typer.Option(
        "--on-incompatible",
        help="What a record of a schema does that the contract can never read: pause its "
        "partition there (default), dead-letter the record, or stop the process.",
    ),
]


@app.command(
    epilog="Example: headwater run products/operations/departure_delays --until-end. "
    "Exit codes: 0 drained, 65 too many bad records or a halted partition, "
    "69 broker or registry away, 75 another process uses this id, 78 configuration or declaration, "
    "142 a step did not come back within the setting `step_timeout`."
)
def run(  # noqa: PLR0913, PLR0917  # one parameter per option
    products: Products,
    until_end: UntilEnd = False,
    register: Register = False,
    start: From = None,
    on_incompatible: Incompatible = None,
    workers: Workers = 1,
    with_snapshots: WithSnapshots = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """Process products until stopped (SIGTERM, Ctrl-C), or until the end of now.

    Several products, or several workers, run as one child process each; when one of them fails the
    others are drained, and the command exits with its code. Snapshots that fail end nothing: they
    are begun again a minute later.
    """
    from headwater.cli import running  # noqa: PLC0415  # most of a second, which --help spares

    running.run(
        running.Asked(
            products,
            until_end,
            register,
            start,
            on_incompatible,
            workers,
            with_snapshots,
            form,
        )
    )
