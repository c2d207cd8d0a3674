"""Headwater: a runtime for domain data products on event streams.

All an author of a product needs is here, and `open` for who reads one; the rooms below are ours.
"""

TYPE_CHECKING = False  # as in `typing`, without its import: the command line starts at once
if TYPE_CHECKING:
    from headwater.assembly.consumer import open  # noqa: A004  # as consumers write it
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
    "open",
    "session",
    "tumbling",
]


def __getattr__(name: str) -> object:
    """A public name, imported when first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "open":
        from headwater.assembly.consumer import open as opened  # noqa: PLC0415  # only readers

        return opened
    from headwater import product  # noqa: PLC0415  # only products need it

    value: object = getattr(product, name)
    return value
