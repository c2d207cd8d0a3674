"""What an author declares: products, flows, snapshot policies. Nothing runs here."""

from headwater.product import aggregates
from headwater.product.declaration import DataProduct, Output
from headwater.product.flow import (
    AggregateStep,
    Filter,
    Flow,
    Join,
    JoinKind,
    Latest,
    Map,
    MapEvents,
    Others,
    Rekey,
    RowLocalStep,
    RunningAggregate,
    Select,
    Sql,
    StatefulStep,
    Step,
    Stream,
    Subjects,
    Table,
    WindowedAggregate,
    WithColumns,
)
from headwater.product.origin import Origin
from headwater.product.snapshot import Snapshot
from headwater.product.windows import hopping, session, tumbling

__all__ = [
    "AggregateStep",
    "DataProduct",
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
    "Rekey",
    "RowLocalStep",
    "RunningAggregate",
    "Select",
    "Snapshot",
    "Sql",
    "StatefulStep",
    "Step",
    "Stream",
    "Subjects",
    "Table",
    "WindowedAggregate",
    "WithColumns",
    "aggregates",
    "hopping",
    "session",
    "tumbling",
]
