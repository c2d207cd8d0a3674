"""Finds the Delta table of a place, or that one may begin there, and begins it."""

from typing import Final

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from headwater.adapters.delta.log import (
    LOG,
    commit_info,
    entry,
    new_metadata,
    new_protocol,
    put_entry,
)
from headwater.adapters.delta.reading import load
from headwater.adapters.tables.files import TableFiles
from headwater.ports import Change
from headwater.snapshot.cut import overtaken
from headwater.snapshot.refusals import another_table, not_ours

PRODUCT: Final = "headwater.product"  # of the table's configuration
TOPIC: Final = "headwater.topic"
_PROPERTIES: Final = {
    # The log is the record of every cut: its entries must outlive Delta's 30 days.
    "delta.enableExpiredLogCleanup": "false",
}


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


def begin(storage: TableFiles, change: Change, product: str, topic: str, now_ms: int) -> DeltaTable:
    """Put entry 0 of the table that a change is the first of: its columns, and no rows.

    deltalake's own creation does not see times without a zone in the values of maps, and leaves a
    table without their feature, which nobody can read. Raises OvertakenError when another writer
    began one here, DeltaError, OSError.
    """
    columns = change.columns or change.files[0].rows.schema
    marks = {**_PROPERTIES, PRODUCT: product, TOPIC: topic}
    described = new_metadata(topic, columns, change.divided_by, marks, now_ms)
    actions = [commit_info(now_ms, {}, "CREATE TABLE"), new_protocol(columns), described]
    try:
        put_entry(storage, 0, actions)
    except OSError:
        # The answer may be lost, or another's entry stand there; else the error is what there is.
        if not storage.exists(entry(0)):
            raise
    table = load(storage)
    if str(table.metadata().id) != described["metaData"]["id"]:
        raise overtaken(storage.location)
    return table


def _is_unused(storage: TableFiles) -> bool:
    """Whether a place holds no table yet, nor anything else.

    A `_delta_log` without commits is what a crash or a full disk leaves of a creation.
    """
    return storage.children() <= {LOG}
