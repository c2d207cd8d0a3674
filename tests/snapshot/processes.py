"""Snapshots of a topic on the broker in memory, taken and verified as processes of their own do."""

from collections.abc import Callable
from typing import Protocol

from headwater.adapters.memory import MemoryBroker, MemoryRangeReader, MemoryTopics
from headwater.clock import SYSTEM, Clock
from headwater.ports import Table
from headwater.snapshot.latest import LatestSnapshotter
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.verifier import Verifier
from headwater.snapshot.writer import Snapshotter, Taken


class Kept(Protocol):
    """A topic and its table."""

    @property
    def broker(self) -> MemoryBroker:
        """Where the topic is."""
        ...

    def table(self) -> Table:
        """A new handle."""
        ...


def take(kept: Kept, codec: RowCodec, *, mode: str = "append", clock: Clock) -> Taken:
    """Take a snapshot of the codec's topic."""
    topic = codec.contract.topic
    kind = LatestSnapshotter if mode == "latest" else Snapshotter
    return kind(
        product=topic,
        topic=topic,
        topics=MemoryTopics(kept.broker),
        reader=MemoryRangeReader(kept.broker),
        table=kept.table(),
        codec=codec,
        clock=clock,
    ).take()


def verifier(
    kept: Kept,
    topic: str,
    codecs: Callable[[int], RowCodec],
    *,
    full: bool = False,
    clock: Clock = SYSTEM,
) -> Verifier:
    """Who verifies the table of a topic."""
    return Verifier(
        topic=topic,
        topics=MemoryTopics(kept.broker),
        reader=MemoryRangeReader(kept.broker),
        open_table=kept.table,
        codecs=codecs,
        full=full,
        clock=clock,
    )
