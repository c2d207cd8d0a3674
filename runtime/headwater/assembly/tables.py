"""The broadcast tables of a product: their topics checked, and read whole outside a run."""

from collections.abc import Iterable, Mapping
from typing import Final

from headwater.assembly.project import LoadedProduct
from headwater.assembly.tasks import TaskMaker
from headwater.engine import BadRecordWindow, BroadcastTables
from headwater.errors import StartRefusedError
from headwater.model import Partition
from headwater.ports import LogReader, TopicFollower, Topics

READ_AT_ONCE: Final = 20_000  # records; bounds what is in hand

Cut = Mapping[Partition, tuple[int, int]]
"""`[start, end)` per partition."""


def broadcast_tables(
    maker: TaskMaker, follower: TopicFollower, windows: Mapping[str, BadRecordWindow]
) -> BroadcastTables:
    """Reads and follows the tables of the maker's product; `windows` by topic."""
    tasks = {table.topic: maker.table_task(table) for table in maker.loaded.product.tables}
    return BroadcastTables(follower, tasks, maker.topics, windows=windows)


def require_tables(loaded: LoadedProduct, topics: Topics) -> None:
    """Raises StartRefusedError (TOPIC_MISSING, TABLE_NOT_COMPACTED) naming every table."""
    names = [table.topic for table in loaded.product.tables]
    missing = [name for name in names if topics.partitions(name) is None]
    if missing:
        raise StartRefusedError(
            f"there is no topic {', '.join(missing)} to hold as a table; start what publishes it, "
            "or check the name",
            code="TOPIC_MISSING",
        )
    policies = {name: topics.config(name).get("cleanup.policy", "") for name in names}
    wrong = [name for name, policy in policies.items() if "compact" not in policy]
    if wrong:
        raise StartRefusedError(
            f"{', '.join(wrong)} is not compacted, so that keys without new records would vanish "
            "from the table, and it would be read for ever longer; set cleanup.policy=compact on "
            "the topic, or read it as a stream",
            code="TABLE_NOT_COMPACTED",
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
