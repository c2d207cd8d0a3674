"""The ends of a topic behind a commit, on a real broker."""

from typing import Final

from headwater.embedded.process import wait_until
from headwater.model import Positions
from headwater.ports import Topics

LONGEST_S: Final = 60.0  # on a crowded machine; an idle broker takes a few milliseconds


def settled(topics: Topics, topic: str) -> Positions:
    """The read_committed ends once no transaction is open.

    A commit is answered before its markers are written, which are what moves these ends.
    """
    assert wait_until(lambda: topics.ends(topic) == topics.high_watermarks(topic), LONGEST_S)
    return topics.ends(topic)
