"""The keys that a product parks, freed in the transaction that resolves the last of their letters.

Only while the product stands still (`standing.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import polars as pl

from headwater.assembly.audit import Action, Mark, Place
from headwater.assembly.letters.order import Chain, chain_of
from headwater.assembly.letters.standing import Standstill
from headwater.assembly.letters.work import place_of
from headwater.engine import StoredLetter, parked_rows
from headwater.engine.parking import COLUMNS, TOTALS
from headwater.model import Partition
from headwater.ports import LogReader, RecordSource, Topics, TransactionalLog

RECORDS_AT_ONCE: Final = 10_000
WHY: Final = "it keeps the order of its letters, and takes no key for free while it runs"


class ParkedKeys:
    """What the changelogs of a product say of parked keys, beside the letters that are open.

    `changelogs` by input topic. `source` is of the product's group, and never joins it.
    """

    def __init__(
        self,
        product: str,
        changelogs: Mapping[str, str],
        source: RecordSource,
        *,
        topics: Topics,
        reader: LogReader,
    ) -> None:
        self._standstill = Standstill(product, list(changelogs), source, topics, why=WHY)
        self._changelogs = changelogs
        self._topics = topics
        self._reader = reader
        self._rows = parked_rows()
        self._keys: dict[Chain, bytes] = {}
        self._letters: dict[Chain, int] = {}  # as the changelogs say
        self._open: defaultdict[Chain, set[Place]] = defaultdict(set)

    def stand_still(self, log: TransactionalLog) -> None:
        """As `Standstill.begin`."""
        self._standstill.begin(log, self._changelogs.values())

    def know(self, letters: Iterable[StoredLetter]) -> bool:
        """Learn what is parked; `letters` are all that are open.

        Whether keys are parked that have none: their letters outlived the retention of their topic.
        """
        for letter in letters:
            self._open[chain_of(letter)].add(place_of(letter))
        for topic, changelog in self._changelogs.items():
            for task, key, first, count in self._parked(changelog):
                chain = Partition(topic, task), first
                self._keys[chain], self._letters[chain] = key, count
        return any(not self._open[chain] for chain in self._keys)

    def stage(self, log: TransactionalLog, marks: Sequence[Mark]) -> None:
        """Put into the open transaction what these marks change of keys, and the positions.

        Raises StartRefusedError (GROUP_ACTIVE) when the product was started meanwhile; then nothing
        of the transaction may be committed.
        """
        for mark in marks:
            if mark.letter is not None:
                self._resolve(mark.letter, mark.action)
        changed = {chain for chain, n in self._letters.items() if len(self._open[chain]) != n}
        self._letters.update({chain: len(self._open[chain]) for chain in changed})
        for topic, changelog in self._changelogs.items():
            mine = {chain for chain in changed if chain[0].topic == topic}
            if mine:
                tasks, keys, values = self._changes(mine)
                log.produce_to(changelog, tasks, keys, values)
        for chain in changed:
            if not self._open[chain]:
                del self._keys[chain], self._letters[chain]
        self._standstill.hold(log)

    # -- steps ---------------------------------------------------------------------------------

    def _parked(self, changelog: str) -> Iterator[tuple[int, bytes, int, int]]:
        """Partition, key, first offset and open letters of each parked key, as committed now."""
        first, end = self._topics.beginnings(changelog), self._topics.high_watermarks(changelog)
        held: dict[tuple[int, bytes], bytes | None] = {}
        ranges = {partition: (first[partition], end[partition]) for partition in end}
        for records in self._reader.read(ranges, max_records=RECORDS_AT_ONCE):
            columns = zip(records.partitions(), records.keys(), records.values, strict=True)
            for task, key, value in columns:
                if key is not None and key != TOTALS:
                    held[task, key] = value
        kept = {place: value for place, value in held.items() if value is not None}
        frame = self._rows.decode(list(kept.values()))
        for (task, key), since, letters in zip(kept, frame["first"], frame["letters"], strict=True):
            yield task, key, since, letters

    def _resolve(self, letter: StoredLetter, action: Action) -> None:
        """Take a letter out; one that failed again stands for a new one of its record."""
        places = self._open[chain_of(letter)]
        places.discard(place_of(letter))
        if action is Action.FAILED_AGAIN:
            places.add((letter.source, letter.source_offset))

    def _changes(
        self, chains: Iterable[Chain]
    ) -> tuple[list[int], list[bytes], list[bytes | None]]:
        """Columns for the changelog: the rows of these keys, null where none is open, and totals.

        As many rows as tasks and keys, of one input.
        """
        changed = sorted(chains)
        tasks = sorted({chain[0] for chain in changed})
        rows = [
            *((chain[1], 1, self._letters[chain]) for chain in changed),
            *((None, *self._totals(task)) for task in tasks),
        ]
        values = self._rows.encode(pl.DataFrame(rows, schema=COLUMNS, orient="row"))
        is_free = [*(not self._letters[chain] for chain in changed), *(False for _ in tasks)]
        return (
            [*(chain[0].index for chain in changed), *(task.index for task in tasks)],
            [*(self._keys[chain] for chain in changed), *(TOTALS for _ in tasks)],
            [None if free else value for free, value in zip(is_free, values, strict=True)],
        )

    def _totals(self, task: Partition) -> tuple[int, int]:
        """How many keys and letters are parked of a partition."""
        counts = [n for chain, n in self._letters.items() if chain[0] == task and n]
        return len(counts), sum(counts)
