"""The records of its inputs that a product did not take when they came: set aside, or skipped."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.assembly.audit import Action, AuditLog, Place
from headwater.assembly.diff.side import Outside
from headwater.assembly.letters.box import DeadLetterBox, Selection
from headwater.assembly.project import LoadedProduct
from headwater.model import Code, Partition, Quarantine
from headwater.ports import Records

STEP: Final = "left out"  # what a quarantine names that no step made


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a product never published anything of, and no step of it keeps.

    `set_aside` are records whose letters wait or were discarded: the publish time (milliseconds) by
    offset, by which a record of an older topic of the name is told from them. `skipped` are
    `[start, end)` of offsets. `replayed` is a record that was set aside and came back later, None
    where there is none: behind which others it took effect is kept nowhere.
    """

    set_aside: Mapping[Partition, Mapping[int, int]]
    skipped: Mapping[Partition, Sequence[tuple[int, int]]]
    replayed: Place | None = None

    @classmethod
    def of(cls, loaded: LoadedProduct, outside: Outside) -> "LeftOut":
        """As the dead letters and the audit log tell it. Raises UnavailableError."""
        topics, reader = outside.topics, outside.reader
        audit = AuditLog(topics, outside.registry, reader)
        skipped = _skipped(loaded, outside, audit)
        box = DeadLetterBox(loaded.name, topics, reader, audit)
        if topics.partitions(box.topic) is None:
            return cls({}, skipped)
        records: dict[Place, int] = {}
        replayed: set[Place] = set()
        for each in box.entries(Selection(), _unheard):
            letter = each.letter
            place = (letter.source, letter.source_offset)
            records[place] = letter.published_ms
            if each.status == "replayed":
                replayed.add(place)
        set_aside: defaultdict[Partition, dict[int, int]] = defaultdict(dict)
        for (partition, offset), published_ms in records.items():
            if (partition, offset) not in replayed:  # of several letters one brought it back
                set_aside[partition][offset] = published_ms
        return cls(set_aside, skipped, min(replayed, default=None))

    def among(self, records: Records) -> list[Quarantine]:
        """Those of these records, which are of one partition."""
        (partition,) = records.ends()
        set_aside, skipped = self.set_aside.get(partition, {}), self.skipped.get(partition, ())
        if not set_aside and not skipped:
            return []
        places = zip(records.offsets(), records.timestamps_ms(), strict=True)
        return [
            Quarantine(row, Code.PARKED, "was set aside or skipped", STEP)
            for row, (offset, published_ms) in enumerate(places)
            if set_aside.get(offset) == published_ms
            or any(start <= offset < end for start, end in skipped)
        ]


def _skipped(
    loaded: LoadedProduct, outside: Outside, audit: AuditLog
) -> dict[Partition, list[tuple[int, int]]]:
    found: defaultdict[Partition, list[tuple[int, int]]] = defaultdict(list)
    topic_ids = {topic: outside.topics.topic_id(topic) for topic in loaded.streams()}
    for (partition, offset), resolutions in audit.marks(loaded.name).items():
        for each in resolutions:
            is_ours = partition.topic in topic_ids and each.action is Action.SKIPPED
            if is_ours and each.topic_id in {None, topic_ids[partition.topic]}:
                found[partition].append((offset, each.next_offset or offset + 1))
    return found


def _unheard(_done: int, _total: int) -> None:
    """It is short beside what follows."""
