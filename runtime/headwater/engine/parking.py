"""Records wait behind one of their key that was set aside: `DeadLetters(keep_order=True)`.

Which keys are parked is state: a row per key of each task, in the transaction of the letters. Only
a replay or discard of the letters frees a key, and only while the product stands still.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from headwater.contract import StateRows
from headwater.engine.halting import rows_before
from headwater.engine.selection import Selection
from headwater.engine.task import Task
from headwater.engine.work import Work, joined
from headwater.errors import RuleBrokenError
from headwater.model import Code, Quarantine
from headwater.ports import Records
from headwater.state import KeyedStore

STEP: Final = "order"  # what a letter names as the step that refused it
TOTALS: Final = b"n"  # the key of the row that adds up all others of its task
OF_KEY: Final = b"k"  # what the others begin with; the record's key follows

COLUMNS: Final = pl.Schema({"first": pl.Int64(), "keys": pl.Int64(), "letters": pl.Int64()})
"""`first` is the offset of the record that was set aside first; null in the totals. `letters` are
those open of the key, `keys` is 1."""

ParkedKey = tuple[int, bytes]
"""The partition and the key of records that wait."""


@dataclass(frozen=True, slots=True)
class Parked:
    """What a key waits for: the offset of its first record set aside, and its open letters."""

    first: int
    letters: int


def parked_rows() -> StateRows:
    """How the rows are written into store and changelog."""
    return StateRows(COLUMNS)


class ParkingTask(Task):
    """Another task, whose records are parked behind those of their key that were set aside.

    A record without a key waits for none. `store` has the columns `COLUMNS`; `told` hears of the
    keys parked and their open letters in all tasks held, after each batch.
    """

    def __init__(self, task: Task, store: KeyedStore, told: Callable[[int, int], None]) -> None:
        if task.watermarks is not None:
            message = "the order of letters is kept of products without state only"
            raise TypeError(message)
        self._task = task
        self._store = store
        self._told = told

    def skip_proofs(self) -> None:
        """As the task."""
        self._task.skip_proofs()

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        """As the task, but that records of parked keys are set aside unseen (PARKED).

        Those behind the first bad one of the batch too: what a record of theirs came to is dropped,
        by running the batch again without them. Raises what the task raises, RuleBrokenError for a
        record that does not wait only.
        """
        self._store.drop()
        totals = self._totals()
        before = self._parked(records, {task for task, total in totals.items() if total["keys"]})
        waiting = _waiting(records, before) if before else {}
        work = joined(self._in_order(records, range(len(records)), waiting, guilty))
        if work.letter_rows:
            self._write(totals, before, _after(records, work.letter_rows, before))
        self._told(*(sum(total[name] for total in totals.values()) for name in ("keys", "letters")))
        return work

    def _in_order(
        self,
        records: Records,
        rows: Sequence[int],
        waiting: dict[int, Quarantine],
        guilty: Sequence[Quarantine],
    ) -> list[Work]:
        """The work of some of the records; those found to wait behind them are added to `waiting`.

        A record that breaks a rule of severity `stop` may be one that waits: nobody looks into it
        then. So the rows are halved, until what is set aside before it is known.
        """
        try:
            work = self._of_rows(records, rows, waiting, guilty)
        except RuleBrokenError:
            if len(rows) == 1:
                raise
            middle = len(rows) // 2
            works = self._in_order(records, rows[:middle], waiting, guilty)
            halts = [halt for each in works for halt in each.halts]
            left = set(rows_before(records, halts)).intersection(rows[middle:])
            return works + (self._in_order(records, sorted(left), waiting, guilty) if left else [])
        followers = _followers(records, work.letter_rows, waiting)
        if not followers:
            return [work]
        waiting.update(followers)
        return self._in_order(records, rows, waiting, guilty)

    def _of_rows(
        self,
        records: Records,
        rows: Sequence[int],
        waiting: Mapping[int, Quarantine],
        guilty: Sequence[Quarantine],
    ) -> Work:
        known = {**{each.row: each for each in guilty}, **waiting}
        if len(rows) == len(records):
            return self._task.process(records, list(known.values()))
        refused = [replace(known[row], row=place) for place, row in enumerate(rows) if row in known]
        work = self._task.process(Selection(records, rows), refused)
        return work.moved(rows, len(records))

    def _totals(self) -> dict[int, Counter[str]]:
        """How many keys and letters are parked, of each task held."""
        tasks = sorted(self._store.tasks)
        found = self._read(tasks, [TOTALS] * len(tasks))
        return {
            task: Counter(keys=keys or 0, letters=letters or 0)
            for task, keys, letters in zip(tasks, found["keys"], found["letters"], strict=True)
        }

    def _parked(self, records: Records, tasks: set[int]) -> dict[ParkedKey, Parked]:
        """What is parked of the keys in these records; looked up only for tasks that park some."""
        if not tasks:
            return {}
        places = zip(records.partitions(), records.keys(), strict=True)
        asked = list({(task, key) for task, key in places if key is not None and task in tasks})
        found = self._read([task for task, _ in asked], [OF_KEY + key for _, key in asked])
        standing = zip(asked, found["first"], found["letters"], strict=True)
        return {key: Parked(first, n) for key, first, n in standing if first is not None}

    def _read(self, tasks: Sequence[int], keys: Sequence[bytes]) -> pl.DataFrame:
        return self._store.read(pl.Series(tasks, dtype=pl.Int64), pl.Series(keys, dtype=pl.Binary))

    def _write(
        self,
        totals: Mapping[int, Counter[str]],
        before: Mapping[ParkedKey, Parked],
        after: Mapping[ParkedKey, Parked],
    ) -> None:
        for place, now in after.items():
            known = before.get(place)
            totals[place[0]]["keys"] += known is None
            totals[place[0]]["letters"] += now.letters - (known.letters if known else 0)
        changed = {task: totals[task] for task, _ in after}
        rows = [
            *(
                (task, OF_KEY + key, now.first, 1, now.letters)
                for (task, key), now in after.items()
            ),
            *((task, TOTALS, None, n["keys"], n["letters"]) for task, n in changed.items()),
        ]
        schema = {"task": pl.Int64(), "key": pl.Binary(), **COLUMNS}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        self._store.write(frame["task"], frame["key"], frame)


def _waiting(records: Records, parked: Mapping[ParkedKey, Parked]) -> dict[int, Quarantine]:
    """The rows of keys that were parked before this batch."""
    places = zip(records.partitions(), records.keys(), strict=True)
    return {
        row: _behind(row, records.topic, task, parked[task, key].first)
        for row, (task, key) in enumerate(places)
        if key is not None and (task, key) in parked
    }


def _followers(
    records: Records, set_aside: Sequence[int], waiting: Mapping[int, Quarantine]
) -> dict[int, Quarantine]:
    """The rows behind those set aside for themselves; bad ones too, as in a later batch."""
    firsts: dict[ParkedKey, int] = {}
    for row, place in _keyed(records, [row for row in set_aside if row not in waiting]):
        firsts.setdefault(place, row)
    if not firsts:
        return {}
    offsets = records.offsets()
    left = range(min(firsts.values()) + 1, len(records))
    return {
        row: _behind(row, records.topic, place[0], offsets[firsts[place]])
        for row, place in _keyed(records, [row for row in left if row not in waiting])
        if firsts.get(place, row) < row
    }


def _after(
    records: Records, set_aside: Sequence[int], before: Mapping[ParkedKey, Parked]
) -> dict[ParkedKey, Parked]:
    """What the keys of these rows wait for, once their letters are written."""
    offsets, after = records.offsets(), dict[ParkedKey, Parked]()
    for row, place in _keyed(records, set_aside):
        known = after.get(place) or before.get(place) or Parked(offsets[row], 0)
        after[place] = Parked(known.first, known.letters + 1)
    return after


def _keyed(records: Records, rows: Sequence[int]) -> Iterator[tuple[int, ParkedKey]]:
    """Those of the rows that have a key, each with it."""
    tasks, keys = records.partitions(), records.keys()
    for row in rows:
        key = keys[row]
        if key is not None:
            yield row, (tasks[row], key)


def _behind(row: int, topic: str, partition: int, first: int) -> Quarantine:
    text = f"waits for {topic}[{partition}]@{first}, a record of its key that was set aside"
    return Quarantine(row, Code.PARKED, text, STEP, first)
