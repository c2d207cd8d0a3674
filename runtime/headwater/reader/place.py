"""Where the table of a product lies: what its last notice says, and how far that is believed."""

from pathlib import Path

from headwater.errors import ReadRefusedError
from headwater.ports import LogReader, Registry, Topics
from headwater.snapshot.notices import last_notice


def table_directory(
    product: str, topic: str, configured: Path, *, notices: tuple[Topics, Registry, LogReader]
) -> Path:
    """The directory that the last notice names, else the configured one.

    A notice is believed when it is of the topic as it is now, and names a directory that is here:
    one of another machine is not. Whether a table of this product and topic stands there is for
    the table to say, which names both itself.
    Raises ReadRefusedError: NOTICE_PLACE for a place that is no absolute path, NO_SNAPSHOT when
    neither directory is here; UnavailableError.
    """
    topics, registry, reader = notices
    notice = last_notice(product, topic, topics=topics, registry=registry, reader=reader)
    if notice is None or topics.partitions(topic) is None:
        return configured
    if notice.topic_id != topics.topic_id(topic):
        return configured  # of a topic that was deleted since: not this log
    directory = Path(notice.location)
    if not directory.is_absolute() or "://" in notice.location:
        raise ReadRefusedError(
            f"The last notice of {topic} says that its snapshot lies in {notice.location}, which is"
            f" no directory that can be read here; say where: headwater.open({product!r},"
            f" snapshots=...).",
            code="NOTICE_PLACE",
        )
    if directory.is_dir():
        return directory
    if configured.is_dir():
        return configured
    raise ReadRefusedError(
        f"The last notice of {topic} says that its snapshot lies in {notice.location}, which is not"
        f" on this machine, and neither is {configured}; bring it here and say where:"
        f" headwater.open({product!r}, snapshots=...).",
        code="NO_SNAPSHOT",
    )
