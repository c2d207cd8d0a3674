"""What an author declares: products, flows, snapshot policies. Nothing runs here."""

from headwater.product.declaration import DataProduct, Output
from headwater.product.flow import (
    Dedupe,
    Filter,
    Flow,
    Join,
    JoinKind,
    Latest,
    Map,
    MapEvents,
    Others,
    Process,
    RowLocalStep,
    Select,
    Sql,
    StatefulStep,
    Step,
    Stream,
    Subjects,
    Table,
    WithColumns,
)
from headwater.product.origin import Origin
from headwater.product.process import ProcessContext
from headwater.product.snapshot import Snapshot

__all__ = [
    "DataProduct",
    "Dedupe",
    "Filter",
    "Flow",
    "Join",
    "JoinKind",
    "Latest",
    "Map",
    "MapEvents",
    "Origin",
    "Others",
    "Output",
    "Process",
    "ProcessContext",
    "RowLocalStep",
    "Select",
    "Snapshot",
    "Sql",
    "StatefulStep",
    "Step",
    "Stream",
    "Subjects",
    "Table",
    "WithColumns",
]
