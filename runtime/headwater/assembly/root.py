"""Where a project begins on disk. Reads no file of it, so that every command can afford to ask."""

from pathlib import Path
from typing import Final

from headwater.errors import DeclarationError, Problem

PRODUCTS: Final = "products"
SCHEMAS: Final = "schemas"


def project_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds `products` or `schemas`.

    Raises DeclarationError when there is none.
    """
    root = find_root(start)
    if root is None:
        text = f"no folder '{PRODUCTS}' or '{SCHEMAS}' here or above; go to your project"
        raise DeclarationError([Problem("NO_PROJECT", text)])
    return root


def find_root(start: Path) -> Path | None:
    """The same; None when there is none."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / PRODUCTS).is_dir() or (folder / SCHEMAS).is_dir():
            return folder
    return None
