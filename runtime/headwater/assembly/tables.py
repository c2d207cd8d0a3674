"""The broadcast tables of a product: their topics checked, and read whole outside a run."""

from collections.abc import Iterator, Mapping

from headwater.assembly.project import LoadedProduct
from headwater.assembly.tasks import TaskMaker
from headwater.engine import BadRecordWindow, BroadcastTables
from headwater.errors import StartRefusedError
from headwater.model import Partition
from headwater.ports import LogReader, TopicFollower, Topics

READ_AT_ONCE = 20_000  # records; bounds what is in hand


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


def read_tables(maker: TaskMaker, reader: LogReader) -> None:
    """Read the tables of the maker's product whole, as they are now.

    Raises what `TableTask.take` raises, StartRefusedError, and UnavailableError.
    """
    loaded, topics = maker.loaded, maker.topics
    require_tables(loaded, topics)
    for table in loaded.product.tables:
        task = maker.table_task(table)
        task.rows.clear()
        ranges = dict(_ranges(table.topic, topics))
        for records in reader.read(ranges, max_records=READ_AT_ONCE):
            task.take(records)


def _ranges(topic: str, topics: Topics) -> Iterator[tuple[Partition, tuple[int, int]]]:
    ends = topics.ends(topic)
    for partition, beginning in topics.beginnings(topic).items():
        yield partition, (beginning, ends[partition])
