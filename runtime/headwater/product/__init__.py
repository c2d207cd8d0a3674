"""What an author declares: products, flows, snapshot policies. Nothing runs here."""

from headwater.product import aggregates
from headwater.product.dead_letters import DeadLetters
from headwater.product.declaration import DataProduct, Output
from headwater.product.flow import Flow
from headwater.product.origin import Origin
from headwater.product.process import ProcessContext
from headwater.product.snapshot import Snapshot
from headwater.product.steps import (
    AggregateStep,
    Dedupe,
    Filter,
    Join,
    JoinAsof,
    JoinKind,
    Latest,
    Map,
    MapEvents,
    Others,
    Process,
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
    TableJoin,
    WindowedAggregate,
    WithColumns,
)
from headwater.product.windows import hopping, session, tumbling

__all__ = [
    "AggregateStep",
    "DataProduct",
    "DeadLetters",
    "Dedupe",
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
    "Process",
    "ProcessContext",
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
    "TableJoin",
    "WindowedAggregate",
    "WithColumns",
    "aggregates",
    "hopping",
    "session",
    "tumbling",
]
