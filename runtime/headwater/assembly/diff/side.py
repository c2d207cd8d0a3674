"""What one definition makes of a cut, in memory: its steps, their state and the topics between.

Steps with state begin with nothing at the beginning of the cut. At its end event time comes to its
end, as in `ProductDriver`: whatever waits for it is closed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from headwater.adapters.memory.partitioner import partition_of
from headwater.adapters.memory.reader import MemoryRecords
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.diff.maps import maps_in_order
from headwater.assembly.project import LoadedProduct
from headwater.assembly.registration import lookup_ids, register
from headwater.assembly.state import stores_in_memory
from headwater.assembly.tables import partitions_beside, read_tables
from headwater.assembly.tasks import TaskMaker
from headwater.contract import ROW, ROW_TYPE, Contract, Decoder, Severity
from headwater.engine import END_OF_TIME, LetterWriter, Publication, Standing, Task, Work
from headwater.engine.dead_letters import OFFSET, PREFIX
from headwater.model import Letter, Partition, Quarantine, RawRecord, RuleViolation
from headwater.ports import LogReader, Records, Registry, Topics

CODE: Final = PREFIX + "code"
NO_TIME: Final = -1  # as Kafka writes it for a record without a timestamp

Cut = Mapping[Partition, tuple[int, int]]
"""`[start, end)` per input partition."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What the comparison reads from; nothing is written to any of it."""

    topics: Topics
    reader: LogReader
    registry: Registry


@dataclass(frozen=True, slots=True)
class Made:
    """What one side makes of a batch: frames by port, and codes by offset of what it refuses.

    `stops` are the rules at which a run would stop. `results` are, by port, all rows so far that
    no single record made, as windows that closed; they are told at the end.
    """

    frames: Mapping[str | None, pl.DataFrame]
    refused: Mapping[int, str]
    stops: Sequence[RuleViolation] = ()
    results: Mapping[str | None, Sequence[pl.DataFrame]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Step:
    """The work of one task; `origins` are the rows of the input batch behind the task's own rows.

    The last of them stands for rows that no record made.
    """

    work: Work
    origins: pl.Series


class Side:
    """One definition, whose outputs are encoded and decoded again.

    So what is compared is what would be published. Its schema ids exist in this object alone. No
    rule stops it: where a run would have stopped is told, and the rest compared all the same.
    """

    def __init__(self, loaded: LoadedProduct, outside: Outside, tables: Cut) -> None:
        registry = MemoryRegistry()
        for contract in loaded.outputs.values():
            register(contract, registry)
        self._stops = {
            (contract.topic, rule.name)
            for contract in (*loaded.inputs.values(), *loaded.outputs.values())
            for rule in contract.rules
            if rule.severity is Severity.STOP
        }
        counts = {topic: outside.topics.partitions(topic) or 0 for topic in loaded.streams()}
        self._between = {t: _partitions_of(loaded, t, outside.topics) for t in loaded.repartitions}
        self._stores = stores_in_memory(loaded, {**counts, **self._between})
        maker = TaskMaker(
            _never_stopping(loaded),
            lookup_ids(loaded.outputs.values(), registry),
            outside.registry,
            outside.topics,
            LetterWriter(f"{loaded.name}.dead-letters"),
            always_framed=True,
            stores=self._stores,
            repartitions=self._between,
        )
        read_tables(maker, outside.reader, tables)
        self._tasks = maker.tasks()
        self._inputs = counts
        self._moved: Counter[Partition] = Counter()
        self._results: defaultdict[str | None, list[pl.DataFrame]] = defaultdict(list)
        self._ports = {output.topic: output.port for output in loaded.product.outputs}
        self._decoders = {
            topic: Decoder(contract, registry.schema) for topic, contract in loaded.outputs.items()
        }
        self._maps = {topic: maps_in_order(contract) for topic, contract in loaded.outputs.items()}
        self.contracts: Final[Mapping[str | None, Contract]] = {
            port: loaded.outputs[topic] for topic, port in self._ports.items()
        }

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Made:
        """What it makes of these records; nothing where it does not read their topic.

        Those that are `guilty` are as if they had never come.
        """
        if records.topic not in self._inputs:
            return Made({}, {})
        rows = pl.Series(range(len(records) + 1), dtype=ROW_TYPE)
        return self._made(len(records), self._steps(records, rows, guilty))

    def take_results(self) -> Mapping[str | None, Sequence[pl.DataFrame]]:
        """The results since they were taken last, by port, which `end` does not tell any more."""
        results, self._results = self._results, defaultdict(list)
        return results

    def end(self) -> Made:
        """What the end of event time makes of what is held, with all results so far."""
        made = self._made(0, self._ends())
        return replace(made, results=self._results)

    # -- steps ---------------------------------------------------------------------------------

    def _steps(
        self, records: Records, origins: pl.Series, guilty: Sequence[Quarantine] = ()
    ) -> Iterator[_Step]:
        """The work of a batch, then that of the sections behind it."""
        yield from self._behind(_Step(self._tasks[records.topic].process(records, guilty), origins))

    def _ends(self) -> Iterator[_Step]:
        no_row = pl.Series([0], dtype=ROW_TYPE)
        for topic, count in self._inputs.items():
            task = self._tasks[topic]
            for index in range(count) if task.watermarks is not None else ():
                work = task.move({index: Standing(END_OF_TIME)}, {Partition(topic, index): 0})
                yield from self._behind(_Step(work, no_row))

    def _behind(self, step: _Step) -> Iterator[_Step]:
        self._keep(self._tasks[step.work.topic])
        yield step
        for topic in self._between:
            moved = self._moved_rows(topic, step)
            if moved is not None:
                yield from self._steps(*moved)

    def _keep(self, task: Task) -> None:
        self._stores.keep()
        if task.watermarks is not None:
            task.watermarks.keep()

    def _moved_rows(self, topic: str, step: _Step) -> tuple[Records, pl.Series] | None:
        """What goes on through a repartition topic: rows, then how far event time has come."""
        raws: list[RawRecord] = []
        origins = [pl.Series(dtype=ROW_TYPE)]
        for each in step.work.publications:
            if each.topic == topic:
                raws += self._raws(each)
                origins.append(step.origins.gather(each.rows))
        heartbeats = step.work.changes.get(topic)
        if heartbeats is not None:
            told = zip(heartbeats.partitions, heartbeats.keys, heartbeats.values, strict=True)
            raws += [self._raw(Partition(topic, index), key, value) for index, key, value in told]
        if not raws:
            return None
        made = sum(map(len, origins))
        no_row = pl.repeat(step.origins[-1], len(raws) - made + 1, dtype=ROW_TYPE, eager=True)
        return MemoryRecords(topic, raws), pl.concat([*origins, no_row])

    def _raws(self, moved: Publication) -> Iterator[RawRecord]:
        count = self._between[moved.topic]
        for key, value in zip(moved.keys, moved.values, strict=True):
            index = partition_of(key or b"", count) if count > 1 else 0
            yield self._raw(Partition(moved.topic, index), key, value)

    def _raw(self, partition: Partition, key: bytes | None, value: bytes | None) -> RawRecord:
        offset = self._moved[partition]
        self._moved[partition] += 1
        return RawRecord(partition, offset, NO_TIME, key, value)

    def _made(self, records: int, steps: Iterator[_Step]) -> Made:
        """Of a batch of so many records: rows by their record, and apart those of none."""
        frames: defaultdict[str | None, list[pl.DataFrame]] = defaultdict(list)
        refused: dict[int, str] = {}
        stops: list[RuleViolation] = []
        for step in steps:
            for each in step.work.publications:
                if each.topic in self._ports:
                    frame = self._decoded(each, step.origins)
                    frames[self._ports[each.topic]].append(frame.filter(pl.col(ROW) < records))
                    results = frame.filter(pl.col(ROW) >= records)
                    self._results[self._ports[each.topic]].append(
                        results.with_columns(pl.lit(0, dtype=ROW_TYPE).alias(ROW))
                    )
            refused |= map(_refusal, step.work.letters)
            violations = step.work.violations
            stops += [each for each in violations if (each.topic, each.rule) in self._stops]
        return Made({port: pl.concat(parts) for port, parts in frames.items()}, refused, stops)

    def _decoded(self, published: Publication, origins: pl.Series) -> pl.DataFrame:
        frame = self._decoders[published.topic].decode(published.values).frame
        rows = origins.gather(published.rows).alias(ROW)
        return frame.with_columns(rows, *self._maps[published.topic])


def _partitions_of(loaded: LoadedProduct, repartition: str, topics: Topics) -> int:
    """One will do, unless its rows are joined by their task."""
    found = partitions_beside(loaded, repartition, topics)
    for left, right in loaded.joined:
        if repartition in {left.topic, right.topic}:
            other = right.topic if repartition == left.topic else left.topic
            found = found or topics.partitions(other)
    return found or 1


def _never_stopping(loaded: LoadedProduct) -> LoadedProduct:
    return replace(loaded, inputs=_warning(loaded.inputs), outputs=_warning(loaded.outputs))


def _warning(contracts: Mapping[str, Contract]) -> dict[str, Contract]:
    """Contracts whose rules of severity `stop` only count what breaks them."""
    return {
        name: replace(
            contract,
            rules=tuple(
                replace(rule, severity=Severity.WARN) if rule.severity is Severity.STOP else rule
                for rule in contract.rules
            ),
        )
        for name, contract in contracts.items()
    }


def _refusal(letter: Letter) -> tuple[int, str]:
    said = dict(letter.headers)  # ours come last, after those of the record itself
    return int(said[OFFSET] or 0), (said[CODE] or b"").decode()
