"""How often the work behind a position was begun in vain, counted beside the committed offset.

A process that a record kills cannot say so. Hence each start notes, before its first batch of a
partition, that it begins there. A commit that moves the position drops the note; an end that the
process tells itself takes it back. The count survives the machine and moves with the partition.
When too many starts ended where they began, the batches that the culprit can be in are guarded:
they go through a sandbox first.
"""

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from headwater.model import Partition, Positions
from headwater.observe.logs import get_logger

MAX_ATTEMPTS: Final = 3  # once is a power cut, twice is bad luck
ATTEMPTS: Final = "attempts"
GUARDED_UNTIL: Final = "guarded_until"

log = get_logger("attempts")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of one partition: starts at this position that came to no commit.

    Batches below the offset `guarded_until` go through the sandbox; 0 = none.
    """

    position: int
    count: int = 0
    guarded_until: int = 0


class Attempts:
    """The attempts of the partitions held. Not thread-safe: the loop owns it.

    `reach` is how many records behind a committed position a process may be working on.
    """

    def __init__(self, *, reach: int) -> None:
        self._reach = reach
        self._known: dict[Partition, Attempt] = {}
        self._guarded: dict[Partition, int] = {}
        self._begun: set[Partition] = set()
        self._counts: dict[Partition, int] = {}  # to stand beside the positions where work began

    def assigned(
        self, positions: Positions, notes: Mapping[Partition, str], ends: Positions
    ) -> None:
        """Partitions are held from here on; `notes` stand beside `positions`, the logs end there.

        A partition that comes back to this process unmoved was counted already.
        """
        for partition, position in positions.items():
            known = self._known.get(partition)
            if partition in self._begun and known is not None and known.position == position:
                continue
            self._begun.discard(partition)
            noted = _parse(position, notes.get(partition, ""))
            if noted.count >= MAX_ATTEMPTS and not noted.guarded_until:
                # whatever ended those starts was in the log then, and within their reach
                furthest = min(position + self._reach, ends.get(partition, position))
                noted = replace(noted, guarded_until=furthest)
            self._known[partition] = noted
            self._counts[partition] = noted.count
            _tell(partition, noted)
        self._guarded = {
            p: a.guarded_until for p, a in self._known.items() if a.guarded_until > a.position
        }

    def due(self, partitions: Iterable[Partition], committed: Positions) -> Positions:
        """Where work begins for the first time: to be committed, with `note`, before it does."""
        fresh = [p for p in partitions if p not in self._begun and p in committed]
        for partition in fresh:
            known = self._known.get(partition, Attempt(committed[partition]))
            if known.position != committed[partition]:  # control records were passed since
                known = replace(known, position=committed[partition], count=0)
            self._known[partition] = known
            self._counts[partition] = known.count + 1
        return {partition: committed[partition] for partition in fresh}

    def begun(self, partitions: Iterable[Partition]) -> None:
        """What was due is committed: it stays counted until the position moves."""
        self._begun.update(partitions)

    def spared(self, partitions: Iterable[Partition], committed: Positions) -> Positions:
        """Where work began and did not move on, though nothing ended this process.

        To be committed once more, with a `note` that counts as before this start.
        """
        unmoved = {
            p: committed[p]
            for p in self._begun.intersection(partitions)
            if committed.get(p) == self._known[p].position
        }
        self._begun -= unmoved.keys()
        self._counts.update({p: self._known[p].count for p in unmoved})
        return unmoved

    def note(self, partition: Partition, next_offset: int) -> Mapping[str, int]:
        """What to write beside this position: nothing, unless work was in vain or is guarded."""
        known = self._known.get(partition)
        if known is None:
            return {}
        note = {}
        if next_offset == known.position and self._counts[partition]:
            note[ATTEMPTS] = self._counts[partition]
        if next_offset < known.guarded_until:
            note[GUARDED_UNTIL] = known.guarded_until
        return note

    def is_guarding(self, committed: Positions, halted: Container[Partition]) -> bool:
        """Whether any partition held has batches to guard: then each batch is committed alone.

        One that stands still brings none.
        """
        return any(
            committed.get(p, until) < until and p not in halted
            for p, until in self._guarded.items()
        )

    def is_guarded(self, partitions: Iterable[Partition], committed: Positions) -> bool:
        """Whether a batch of these partitions, next to be committed, goes through the sandbox."""
        return bool(self._guarded) and any(
            committed.get(p, 0) < self._guarded.get(p, 0) for p in partitions
        )


def _parse(position: int, note: str) -> Attempt:
    found = json.loads(note) if note.startswith("{") else {}
    return Attempt(position, found.get(ATTEMPTS, 0), found.get(GUARDED_UNTIL, 0))


def _tell(partition: Partition, attempt: Attempt) -> None:
    if attempt.count == 0 and attempt.guarded_until <= attempt.position:
        return
    log.warning(
        "attempts.in_vain",
        partition=str(partition),
        position=attempt.position,
        starts=attempt.count,
        guarded_until=attempt.guarded_until or None,
    )
