"""Finds the Delta table of a place, or that one may begin there."""

from typing import Final

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from headwater.adapters.delta.log import LOG
from headwater.adapters.delta.reading import load
from headwater.adapters.tables.files import TableFiles
from headwater.snapshot.refusals import another_table, not_ours

PRODUCT: Final = "headwater.product"  # of the table's configuration
TOPIC: Final = "headwater.topic"


def open_table(storage: TableFiles, topic: str) -> DeltaTable | None:
    """The table of a topic; None where one may begin.

    Raises StartRefusedError (NOT_OUR_TABLE), DeltaError, OSError.
    """
    try:
        table = load(storage)
    except TableNotFoundError:
        if _is_unused(storage):
            return None
        if not DeltaTable.is_deltatable(storage.location, dict(storage.options)):
            raise not_ours(storage.location, topic, "it holds other files") from None
        table = load(storage)  # it was begun between the two looks
    if (found := table.metadata().configuration.get(TOPIC)) != topic:
        raise another_table(storage.location, topic, found)
    return table


def _is_unused(storage: TableFiles) -> bool:
    """Whether a place holds no table yet, nor anything else.

    A `_delta_log` without commits is what a crash or a full disk leaves of a creation.
    """
    return storage.children() <= {LOG}
