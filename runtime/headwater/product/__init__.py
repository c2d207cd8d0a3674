"""What an author declares: products, flows, snapshot policies. Nothing runs here."""

from headwater.product.declaration import DataProduct, Output
from headwater.product.flow import (
    Filter,
    Flow,
    Join,
    JoinAsof,
    JoinKind,
    Latest,
    Map,
    MapEvents,
    Others,
    Rekey,
    RowLocalStep,
    Select,
    Sql,
    Step,
    Stream,
    Subjects,
    Table,
    TableJoin,
    WithColumns,
)
from headwater.product.origin import Origin
from headwater.product.snapshot import Snapshot

__all__ = [
    "DataProduct",
    "Filter",
    "Flow",
    "Join",
    "JoinAsof",
    "JoinKind",
    "Latest",
    "Map",
    "MapEvents",
    "Origin",
    "Others",
    "Output",
    "Rekey",
    "RowLocalStep",
    "Select",
    "Snapshot",
    "Sql",
    "Step",
    "Stream",
    "Subjects",
    "Table",
    "TableJoin",
    "WithColumns",
]
