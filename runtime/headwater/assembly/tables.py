"""The tables of a product: their topics checked, and read whole outside a run."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from headwater.assembly.project import LoadedProduct
from headwater.assembly.tasks import TaskMaker
from headwater.clock import SYSTEM
from headwater.engine import BadRecordWindow, FollowedTable, FollowedTables
from headwater.errors import StartRefusedError
from headwater.model import Partition
from headwater.ports import LogReader, Monitor, TopicFollower, Topics
from headwater.product import Table, TableJoin

READ_AT_ONCE: Final = 20_000  # records; bounds what is in hand
FOREVER: Final = "-1"
NOT_THERE: Final[Mapping[str, int]] = {}

Cut = Mapping[Partition, tuple[int, int]]
"""`[start, end)` per partition."""


def followed_tables(
    maker: TaskMaker,
    follower: TopicFollower,
    windows: Mapping[str, BadRecordWindow],
    monitor: Monitor,
) -> FollowedTables:
    """Reads and follows the tables of the maker's product; `windows` by topic."""
    tables = {
        table.topic: FollowedTable(
            maker.table_task(table),
            windows[table.topic],
            None if table.broadcast else frozenset(joined_inputs(maker.loaded, table)),
        )
        for table in maker.loaded.product.tables
    }
    return FollowedTables(follower, tables, maker.topics, monitor, SYSTEM)


def joined_inputs(loaded: LoadedProduct, table: Table) -> Iterator[str]:
    """The topics whose records are joined with a table: inputs, or repartition topics."""
    for section in loaded.sections:
        steps = section.plan.flow.steps
        if any(isinstance(step, TableJoin) and step.table is table for step in steps):
            yield section.topic


def partitions_beside(loaded: LoadedProduct, topic: str, topics: Topics) -> int | None:
    """How many partitions the co-partitioned tables have that rows of a topic are joined with.

    None where there are none; tables that differ refuse the start in any case.
    """
    for table in loaded.product.tables:
        if not table.broadcast and topic in joined_inputs(loaded, table):
            return topics.partitions(table.topic)
    return None


def require_tables(
    loaded: LoadedProduct, topics: Topics, repartitions: Mapping[str, int] = NOT_THERE
) -> None:
    """Raises StartRefusedError naming every table that cannot be held.

    `repartitions` are the partition counts of repartition topics, which may not be there yet.
    TOPIC_MISSING, TABLE_NOT_COMPACTED, TABLE_HISTORY or CO_PARTITIONING.
    """
    names = [table.topic for table in loaded.product.tables]
    missing = [name for name in names if topics.partitions(name) is None]
    if missing:
        raise StartRefusedError(
            f"there is no topic {', '.join(missing)} to hold as a table; start what publishes it, "
            "or check the name",
            code="TOPIC_MISSING",
        )
    _require_rows(loaded, topics)
    _require_copartitions(loaded, topics, repartitions)


def _require_rows(loaded: LoadedProduct, topics: Topics) -> None:
    """The topic keeps what the table is to hold."""
    configs = {table: topics.config(table.topic) for table in loaded.product.tables}
    wrong = [
        table.topic
        for table, config in configs.items()
        if not table.versioned and "compact" not in config.get("cleanup.policy", "")
    ]
    if wrong:
        raise StartRefusedError(
            f"{', '.join(wrong)} is not compacted, so that keys without new records would vanish "
            "from the table, and it would be read for ever longer; set cleanup.policy=compact on "
            "the topic, or read it as a stream",
            code="TABLE_NOT_COMPACTED",
        )
    wrong = [t.topic for t, config in configs.items() if t.versioned and not _keeps_all(config)]
    if wrong:
        raise StartRefusedError(
            f"{', '.join(wrong)} does not keep every record, so that rows would vanish from the "
            "history of the versioned table; set cleanup.policy=delete, retention.ms=-1 and "
            "retention.bytes=-1 on the topic, or hold its newest rows, without versioned=True",
            code="TABLE_HISTORY",
        )


def _keeps_all(config: Mapping[str, str]) -> bool:
    limits = [config.get(name, FOREVER) for name in ("retention.ms", "retention.bytes")]
    return config.get("cleanup.policy") == "delete" and set(limits) == {FOREVER}


def _require_copartitions(
    loaded: LoadedProduct, topics: Topics, repartitions: Mapping[str, int]
) -> None:
    """A task finds the rows of its keys in the partition of its own number."""
    differing: dict[str, None] = {}
    for table in loaded.product.tables:
        count = topics.partitions(table.topic)
        for topic in () if table.broadcast else joined_inputs(loaded, table):
            own = repartitions.get(topic) or topics.partitions(topic)
            if own not in {count, None}:
                differing[f"{topic} has {own} and its table {table.topic} {count}"] = None
    if differing:
        raise StartRefusedError(
            f"topics that are joined by key have as many partitions as each other: "
            f"{'; '.join(differing)}; write one of them anew with as many as the other, or hold "
            "the table with broadcast=True",
            code="CO_PARTITIONING",
        )


def tables_cut(products: Iterable[LoadedProduct], topics: Topics) -> Cut:
    """All that stands in the table topics of these products now; StartRefusedError as above."""
    cut: dict[Partition, tuple[int, int]] = {}
    for loaded in products:
        require_tables(loaded, topics)
        for table in loaded.product.tables:
            ends = topics.ends(table.topic)
            first = topics.beginnings(table.topic)
            cut |= {p: (at, ends[p]) for p, at in first.items() if p not in cut}
    return cut


def read_tables(maker: TaskMaker, reader: LogReader, cut: Cut) -> None:
    """Let the tables of the maker's product hold what the cut holds of them.

    What is refused is not told again: a run of the product does. Raises what `TableTask.take` and
    the reader raise.
    """
    for table in maker.loaded.product.tables:
        task = maker.table_task(table)
        task.rows.clear()
        ranges = {p: span for p, span in cut.items() if p.topic == table.topic}
        for records in reader.read(ranges, max_records=READ_AT_ONCE):
            task.take(records)
