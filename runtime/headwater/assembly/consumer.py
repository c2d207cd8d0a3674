"""`headwater.open`. Imports nothing heavy until it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from headwater.reader.product import Product


def open(  # noqa: A001  # as consumers write it: headwater.open(...)
    product: str,
    output: str | None = None,
    *,
    kafka: str | Mapping[str, str] | None = None,
    registry: str | Mapping[str, str] | None = None,
    snapshots: str | Path | None = None,
) -> Product:
    """A product as its consumers read it: `.snapshot()`, `.events()`, `.read()`.

    `product` is its name, `output` a further output's. The contract is the newest that is
    registered; the table is looked for below `snapshots`, or when that is not given where the last
    notice of the product says. What is not given is as `headwater.toml` and the environment set it,
    else the stack of `headwater dev up`. A plain string is `bootstrap.servers`, or the registry's
    `url`.

    Raises ReadRefusedError (PRODUCT_UNKNOWN), ConfigurationError, UnavailableError. A registered
    schema that is no contract is told when the product's columns or data are first asked for.
    """
    # A third of a second of settings and clients; whoever only writes products never needs them.
    from headwater.assembly.reading import product_of  # noqa: PLC0415  # heavy
    from headwater.config import load_settings  # noqa: PLC0415  # heavy

    topic = product if output is None else f"{product}.{output}"
    settings = load_settings().with_places(kafka=kafka, registry=registry, snapshots=snapshots)
    return product_of(topic, product, settings, is_announced=snapshots is None)
