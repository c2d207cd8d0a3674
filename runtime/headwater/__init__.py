"""Headwater: a runtime for domain data products on event streams.

All an author of a product needs is here; the rooms below are ours.
"""

TYPE_CHECKING = False  # as in `typing`, without its import: the command line starts at once
if TYPE_CHECKING:
    from headwater.product import (
        DataProduct,
        DeadLetters,
        Flow,
        ProcessContext,
        Snapshot,
        aggregates,
        hopping,
        session,
        tumbling,
    )

__all__ = [
    "DataProduct",
    "DeadLetters",
    "Flow",
    "ProcessContext",
    "Snapshot",
    "aggregates",
    "hopping",
    "session",
    "tumbling",
]


def __getattr__(name: str) -> object:
    """A public name, imported when first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from headwater import product  # noqa: PLC0415  # only products need it

    value: object = getattr(product, name)
    return value
