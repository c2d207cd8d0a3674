"""What an author declares: products, flows, snapshot policies. Nothing runs here."""

from headwater.product.dead_letters import DeadLetters
from headwater.product.declaration import DataProduct, Output
from headwater.product.flow import (
    Filter,
    Flow,
    Join,
    JoinKind,
    Latest,
    Map,
    MapEvents,
    Others,
    RowLocalStep,
    Select,
    Sql,
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
    "DeadLetters",
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
    "RowLocalStep",
    "Select",
    "Snapshot",
    "Sql",
    "Step",
    "Stream",
    "Subjects",
    "Table",
    "WithColumns",
]
