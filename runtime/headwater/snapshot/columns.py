"""Whether a table's columns are still those of the contract. A snapshot never changes a column."""

import pyarrow as pa

from headwater.errors import StartRefusedError


def differing(stored: pa.Schema, wanted: pa.Schema) -> str:
    """How the columns differ in name, type or order, as a phrase; empty when they do not."""
    held = {each.name: each.type for each in stored}
    asked = {each.name: each.type for each in wanted}
    other = [
        f"{name} is {kind}, stored as {held[name]}"
        for name, kind in asked.items()
        if name in held and held[name] != kind
    ]
    news = [f"{name} is not stored" for name in asked if name not in held]
    gone = [f"{name} is only stored" for name in held if name not in asked]
    if not (found := [*other, *news, *gone]) and list(held) != list(asked):
        return "they are in another order"
    return ", ".join(found)


def refused(location: str, phrase: str) -> StartRefusedError:
    """The error for a table whose columns differ as `differing` says."""
    return StartRefusedError(
        f"The columns of the log are no longer those of the snapshot in {location} ({phrase});"
        f" nothing was written. A snapshot keeps the columns it began with: begin a new one of the"
        f" whole log in another directory with --to.",
        code="SNAPSHOT_COLUMNS",
    )
