"""What an author declares: products, flows, snapshot policies. Nothing runs here."""

from headwater.product.declaration import DataProduct, Output
from headwater.product.flow import (
    Filter,
    Flow,
    Join,
    JoinKind,
    Map,
    MapEvents,
    Others,
    Select,
    Step,
    Stream,
    Subjects,
    Table,
    WithColumns,
)
from headwater.product.origin import Origin
from headwater.product.snapshot import Snapshot

__all__ = [
    "DataProduct",
    "Filter",
    "Flow",
    "Join",
    "JoinKind",
    "Map",
    "MapEvents",
    "Origin",
    "Others",
    "Output",
    "Select",
    "Snapshot",
    "Step",
    "Stream",
    "Subjects",
    "Table",
    "WithColumns",
]
