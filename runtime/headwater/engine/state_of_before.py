"""State of before: changelogs hold rows, and the group has no offsets to go with them.

Offsets expire (`offsets.retention.minutes`, 7 days after the last member went) and can be deleted;
a changelog stays. Whatever is read again then would be counted twice.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from headwater.errors import StartRefusedError
from headwater.model import Partition
from headwater.ports import LogReader, Topics

LOOKED_AT: Final = 1_000  # records at once, until one is a row: the first one as a rule


def refuse_state_of_before(
    group: str, changelogs: Mapping[str, Sequence[str]], topics: Topics, reader: LogReader
) -> None:
    """Compare the changelogs, each with the topics it is made of, with the offsets of the group.

    Raises StartRefusedError (STATE_OF_BEFORE) when a task has rows and one of its partitions no
    offset, and what topics and reader raise.
    """
    found: dict[str, Collection[Partition]] = {}
    for changelog, sources in changelogs.items():
        lacking = _without_offset(group, sources, topics)
        tasks = {partition.index for partition in lacking}
        if tasks and _has_rows(changelog, tasks, topics, reader):
            # asked again: another process may have started, and written, in between
            found[changelog] = lacking & _without_offset(group, sources, topics)
    kept = sorted(changelog for changelog, without in found.items() if without)
    if kept:
        first = min(partition for without in found.values() for partition in without)
        raise StartRefusedError(
            f"group {group} has no offset on {first}, but there is state of what it read before in "
            f"{', '.join(kept)}; what is read again would be counted twice: restore the offsets, "
            "or delete these topics to begin without state (docs/state.md, To begin anew)",
            code="STATE_OF_BEFORE",
        )


def _without_offset(group: str, sources: Iterable[str], topics: Topics) -> frozenset[Partition]:
    return frozenset(
        partition
        for topic in sources
        for partition in topics.beginnings(topic).keys() - topics.group_offsets(group, topic).keys()
    )


def _has_rows(changelog: str, tasks: Collection[int], topics: Topics, reader: LogReader) -> bool:
    """Whether anything but deletions and control records is left of these tasks."""
    first, ends = topics.beginnings(changelog), topics.ends(changelog)
    ranges = {
        partition: (first[partition], end)
        for partition, end in ends.items()
        if partition.index in tasks and first[partition] < end
    }
    return any(
        value is not None
        for records in reader.read(ranges, max_records=LOOKED_AT)
        for value in records.values
    )
