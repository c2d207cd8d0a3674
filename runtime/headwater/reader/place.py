"""Where the table of a product lies: what its last notice says, and how far that is believed."""

from pathlib import Path

from headwater.config import is_bucket
from headwater.errors import ReadRefusedError
from headwater.ports import LogReader, Registry, Topics
from headwater.snapshot.notices import last_notice


def table_place(
    product: str, topic: str, configured: str, *, notices: tuple[Topics, Registry, LogReader]
) -> str:
    """The directory or prefix in a bucket that the last notice names, else the configured one.

    A notice is believed when it is of the topic as it is now, and names a bucket, or a directory
    that is here: one of another machine is not. Whether a table of this product and topic stands
    there is for the table to say, which names both itself.
    Raises ReadRefusedError: NOTICE_PLACE for a place that is neither an absolute path nor in a
    bucket, NO_SNAPSHOT when neither directory is here; UnavailableError.
    """
    topics, registry, reader = notices
    notice = last_notice(product, topic, topics=topics, registry=registry, reader=reader)
    if notice is None or topics.partitions(topic) is None:
        return configured
    if notice.topic_id != topics.topic_id(topic):
        return configured  # of a topic that was deleted since: not this log
    if is_bucket(notice.location):
        return notice.location
    if not Path(notice.location).is_absolute() or "://" in notice.location:
        raise ReadRefusedError(
            f"The last notice of {topic} says that its snapshot lies in {notice.location}, which is"
            f" neither a directory that can be read here nor in a bucket; say where:"
            f" headwater.open({product!r}, snapshots=...).",
            code="NOTICE_PLACE",
        )
    if Path(notice.location).is_dir():
        return notice.location
    if is_bucket(configured) or Path(configured).is_dir():
        return configured
    raise ReadRefusedError(
        f"The last notice of {topic} says that its snapshot lies in {notice.location}, which is not"
        f" on this machine, and neither is {configured}; bring it here and say where:"
        f" headwater.open({product!r}, snapshots=...).",
        code="NO_SNAPSHOT",
    )
