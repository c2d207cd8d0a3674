"""Runs a product on frames or events with no broker: same steps, same codec, same errors."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, Final, cast

import polars as pl

from headwater.adapters.memory.reader import MemoryRecords
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.plain import Event, PlainValueError, frames_of, plain_events
from headwater.assembly.project import LoadedProduct, complete, load_product
from headwater.assembly.state import stores_in_memory
from headwater.contract import (
    Contract,
    Decoder,
    Encoder,
    RepartitionRows,
    TopicDecoder,
    from_arrow,
    key_schema,
)
from headwater.engine import (
    END_OF_TIME,
    LetterWriter,
    Repartition,
    Route,
    SectionTask,
    Standing,
    Stores,
    Task,
    Work,
    join_tasks,
)
from headwater.engine.dead_letters import PREFIX
from headwater.errors import DeclarationError, Problem
from headwater.flow import (
    DELETED,
    ROW,
    TASK,
    TIME,
    Batch,
    Section,
    VersionedRows,
    check_row_local,
    event_times,
)
from headwater.model import Code, Letter, Partition, RawRecord, RuleViolation
from headwater.product import DataProduct, Stream
from headwater.snapshot.place import PLACE

NO_TIME: Final = -1  # as Kafka writes it for a record without a timestamp

Inputs = pl.DataFrame | pl.LazyFrame | Sequence[Event | bytes | None]
"""Events of one input, in order: columns of its contract, or events one by one.

The rows of a snapshot are taken as they are: where they stood in the log is left out, and they are
as old as `_timestamp` says.
`bytes` and None stand for values as they come from the log, however broken. Where a topic is read
by types of events, `_type` of an event names its contract; it may be left out of a single one.
"""

TYPE: Final = "_type"

_TIMESTAMP: Final = PLACE.names[2]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An input record that was quarantined: `row` is its place in what was given for `topic`."""

    topic: str
    row: int
    code: Code
    message: str
    step: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out: a frame of contract columns per output topic, and the dead letters.

    `violations` are the rules of the contracts that were broken; the offset is the place in what
    was given. `late` counts the rows that were dropped because they came late, by
    `<output>.<step>`.
    """

    product: str
    frames: Mapping[str, pl.DataFrame]
    dead_letters: Sequence[DeadLetter]
    violations: Sequence[RuleViolation] = ()
    late: Mapping[str, int] = field(default_factory=dict)

    def frame(self, port: str | None = None) -> pl.DataFrame:
        """The records of an output, as its consumers decode them; without a port the first log."""
        return self.frames[self.product if port is None else f"{self.product}.{port}"]

    def events(self, port: str | None = None) -> list[dict[str, Any]]:
        """The same records as plain values: times as ISO 8601 texts, decimals as texts."""
        return plain_events(self.frame(port))


class ProductDriver:
    """Runs a product, given itself or by name, folder or file, on inputs from memory.

    Each run stands alone: it begins without state, and has no offsets and no topics; only tables
    stay as they were given. Event time is as in a running product, and behind the last record it
    comes to its end: whatever waits for event time is closed.
    Raises DeclarationError with every mistake of the declaration.
    """

    def __init__(self, product: DataProduct | LoadedProduct | str | Path) -> None:
        if isinstance(product, DataProduct):
            product = complete(product, Path(product.origin.file))
        elif not isinstance(product, LoadedProduct):
            product = load_product(product)
        self.loaded: Final = product
        self._registry: Final = MemoryRegistry()
        self._readers: Final = {
            topic: Decoder(contract, self._registry.schema)
            for topic, contract in product.outputs.items()
        }
        self._decoders: Final = {
            topic: self._decoder(streams) for topic, streams in product.streams().items()
        }

    def run(self, inputs: Inputs | Mapping[str, Inputs]) -> Outcome:
        """Process these records; by topic where the product has several inputs.

        Raises DeclarationError for an event its own contract refuses (BAD_INPUT), or a step that
        depends on batch boundaries (BATCH_DEPENDENT), and RuleBrokenError for a rule that stops;
        ResultRefusedError where no single record broke it.
        Only rows of a snapshot have a publish time here, so no other event has an age.
        """
        by_topic = self._by_topic(inputs)
        self.check_row_local(by_topic)
        frames = {topic: [self._nothing(topic)] for topic in self.loaded.outputs}
        stores = stores_in_memory(self.loaded)
        tasks = self._tasks(stores)
        dead_letters: list[DeadLetter] = []
        violations: list[RuleViolation] = []
        late: Counter[str] = Counter()
        for topic, given in by_topic.items():
            records = _records(topic, self._values(topic, given), _published_ms(given))
            for work in self._works(records, tasks, stores):
                for publication in work.publications:
                    if publication.topic not in self._readers:
                        continue  # on its way to another section
                    decoded = self._readers[publication.topic].decode(publication.values)
                    frames[publication.topic].append(decoded.frame.drop(ROW))
                dead_letters += [_dead_letter(topic, letter) for letter in work.letters]
                violations += work.violations
                late.update(work.too_late)
        joined = {topic: pl.concat(parts) for topic, parts in frames.items()}
        return Outcome(self.loaded.name, joined, dead_letters, violations, late)

    def _works(
        self, records: MemoryRecords, tasks: Mapping[str, Task], stores: Stores
    ) -> Iterator[Work]:
        """The records of an input, then its end: data that ends closes what is open.

        Behind them what goes on through repartition topics, which ends likewise.
        """
        topic = records.topic
        task = tasks[topic]
        works = [task.process(records)]
        if task.watermarks is not None and not task.is_internal:
            stores.keep()
            task.watermarks.keep()
            works.append(task.move({0: Standing(END_OF_TIME)}, {Partition(topic, 0): len(records)}))
        stores.keep()
        yield from works
        for repartition in self.loaded.repartitions:
            if moved := list(_moved(works, repartition)):
                yield from self._works(_records(repartition, moved), tasks, stores)

    def table(self, topic: str, rows: pl.DataFrame | Sequence[Event]) -> None:
        """Let a table hold exactly these rows from now on; of a key the last counts.

        Of a versioned one each is valid since its event time. A table that was never given is
        empty. Raises DeclarationError (BAD_INPUT).
        """
        if topic not in self.loaded.tables:
            known = ", ".join(self.loaded.tables) or "none"
            raise _bad_input(f"{self.loaded.name} has no table {topic}; there are: {known}")
        contract, held = self.loaded.inputs[topic], self.loaded.tables[topic].rows
        values: list[bytes | None] = [None] * len(rows)
        try:
            self._encode(contract, _row_frames(rows, contract), values)
        except PlainValueError as error:
            raise _bad_input(str(error)) from error
        frame = Decoder(contract, self._registry.schema).decode(values).frame
        held.clear()
        name = contract.event_time
        since = pl.lit(0) if name is None else pl.col(name).dt.epoch("ms")
        frame = frame.with_columns(
            since.alias(TIME), pl.lit(0).alias(TASK), pl.lit(value=False).alias(DELETED)
        )
        if isinstance(held, VersionedRows) and frame[TIME].has_nulls():
            raise _bad_input(f"{topic}: {name} is null, so nothing says since when a row is valid")
        held.apply(frame)

    def check_row_local(self, inputs: Mapping[str, Inputs]) -> None:
        """Prove on these records that no step depends on batches. Raises DeclarationError.

        The steps behind a change of key are proven as their rows come.
        """
        for section in self.loaded.sections:
            stream = section.stream
            if section.source is None and stream.topic in inputs:
                values = self._values(stream.topic, inputs[stream.topic])
                place = self.loaded.streams()[stream.topic].index(stream)
                frame = self._decoders[stream.topic].decode(values).frames[place]
                name = self.loaded.inputs[stream.contract_name].event_time
                tasks = pl.repeat(0, len(values), dtype=pl.Int64, eager=True)
                batch = Batch(tasks, times=event_times(len(values), [frame], [name]))
                check_row_local(section.plan, frame, batch, max_rows=max(frame.height, 1))

    def _by_topic(self, inputs: Inputs | Mapping[str, Inputs]) -> Mapping[str, Inputs]:
        topics = list(self._decoders)
        by_topic = inputs if isinstance(inputs, Mapping) else {topics[0]: inputs}
        unknown = sorted(by_topic.keys() - set(topics))
        if unknown or (by_topic is not inputs and len(topics) > 1):
            raise _bad_input(f"{self.loaded.name} reads {', '.join(topics)}; give events by topic")
        joined = {each.stream.topic for pair in self.loaded.joined for each in pair}
        whole = {
            topic: given.collect() if isinstance(given, pl.LazyFrame) else given
            for topic, given in by_topic.items()
        }
        return {**whole, **dict.fromkeys(sorted(joined - by_topic.keys()), ())}

    def _decoder(self, streams: Sequence[Stream]) -> TopicDecoder:
        contracts = [self.loaded.inputs[each.contract_name] for each in streams]
        decoders = [Decoder(contract, self._registry.schema) for contract in contracts]
        return TopicDecoder(decoders, skips_others=streams[0].others == "skip")

    def _values(self, topic: str, given: Inputs) -> list[bytes | None]:
        """The framed values of an input, as its producer would have written them."""
        contract, *others = self._decoders[topic].contracts
        if isinstance(given, pl.DataFrame):
            if others:
                raise _bad_input(f"{topic} has several types of events; give them one by one")
            frame = _numbered(_without_place(given, contract))
            return self._encode(contract, [frame], [None] * frame.height)
        if isinstance(given, pl.LazyFrame):
            return self._values(topic, given.collect())
        raw = [None if isinstance(event, Mapping) else event for event in given]
        try:
            for each, events in self._by_contract(topic, given):
                self._encode(each, frames_of(events, each), raw)
        except PlainValueError as error:
            raise _bad_input(str(error)) from error
        return raw

    def _by_contract(
        self, topic: str, given: Sequence[Event | bytes | None]
    ) -> Iterator[tuple[Contract, dict[int, Event]]]:
        """Events by their place: under the contract that `_type` names where there are types."""
        contracts = {each.topic: each for each in self._decoders[topic].contracts}
        only = next(iter(contracts)) if len(contracts) == 1 else None
        is_typed = self.loaded.streams()[topic][0].event is not None
        by_type: dict[Any, dict[int, Event]] = {}
        for row, event in enumerate(given):
            if isinstance(event, Mapping):
                rest = {name: value for name, value in event.items() if name != TYPE}
                name = event.get(TYPE, only) if is_typed else only
                by_type.setdefault(name, {})[row] = rest if is_typed else event
        for name, events in by_type.items():
            if name not in contracts:
                raise _bad_input(f'give "{TYPE}" to each event of {topic}: {", ".join(contracts)}')
            yield contracts[name], events

    def _encode(
        self, contract: Contract, frames: Iterable[pl.DataFrame], into: list[bytes | None]
    ) -> list[bytes | None]:
        encoder = self._encoder(contract)
        for frame in frames:
            encoded = encoder.encode(frame)
            for refused in encoded.quarantined:
                raise _bad_input(f"{contract.topic}, record {refused.row + 1}: {refused.message}")
            for row, value in zip(encoded.rows, encoded.values, strict=True):
                into[row] = value
        return into

    def _tasks(self, stores: Stores) -> dict[str, Task]:
        topics = [*self._decoders, *self.loaded.repartitions]
        found = {topic: self._task(topic, stores) for topic in topics}
        for left, right in self.loaded.joined:
            join_tasks(left.output, found[left.topic], found[right.topic])
        return found

    def _task(self, topic: str, stores: Stores) -> Task:
        letters = LetterWriter(f"{self.loaded.name}.dead-letters")
        if (sections := self.loaded.repartitions.get(topic)) is not None:
            routes = [self._route(each, 0, stores) for each in sections]
            rows = cast("RepartitionRows", sections[0].reads)  # who has a source has what it reads
            origin = sections[0].stream.topic
            return SectionTask(rows, routes, origin=origin, sources=1, dead_letters=letters)
        routes = [
            self._route(section, place, stores)
            for place, stream in enumerate(self.loaded.streams()[topic])
            for section in self.loaded.sections
            if section.source is None and section.stream is stream
        ]
        return Task(self._decoders[topic], routes, dead_letters=letters)

    def _route(self, section: Section, place: int, stores: Stores) -> Route:
        plan = section.plan
        held = stores.of(section.output, [stage.step.name for stage in plan.stateful])
        plan = plan.with_stores({each.step: each.store for each in held})
        encoder: Encoder | Repartition
        if section.writes is None:
            encoder = self._encoder(self.loaded.outputs[section.output])
        else:
            encoder = Repartition(section.sink, section.writes, 1)
        return Route(section.sink, plan, encoder, place, stores=[each.store for each in held])

    def _nothing(self, topic: str) -> pl.DataFrame:
        return pl.DataFrame(schema=self.loaded.outputs[topic].columns)

    def _encoder(self, contract: Contract) -> Encoder:
        """An encoder whose schemas are registered in memory, as `register` does for real."""
        key = key_schema(contract)
        key_id = None if key is None else self._registered(f"{contract.topic}-key", key)
        value_id = self._registered(f"{contract.topic}-value", contract.text)
        return Encoder(contract, value_id, key_schema_id=key_id)

    def _registered(self, subject: str, schema: str) -> int:
        return self._registry.register(subject, schema, compatibility="NONE").schema_id


def _moved(works: Sequence[Work], repartition: str) -> Iterator[bytes | None]:
    """The values that works have for a repartition topic, rows before heartbeats."""
    for work in works:
        for publication in work.publications:
            if publication.topic == repartition:
                yield from publication.values
        if repartition in work.changes:
            yield from work.changes[repartition].values


def _records(
    topic: str, values: Sequence[bytes | None], published_ms: Sequence[int] | None = None
) -> MemoryRecords:
    """One partition whose offsets are the places of the records."""
    partition = Partition(topic, 0)
    times = repeat(NO_TIME, len(values)) if published_ms is None else published_ms
    placed = enumerate(zip(values, times, strict=True))
    return MemoryRecords(
        topic, [RawRecord(partition, row, time, None, value) for row, (value, time) in placed]
    )


def _published_ms(given: Inputs) -> Sequence[int] | None:
    """When each row was published, of those that know it."""
    if isinstance(given, pl.DataFrame) and _TIMESTAMP in given:
        published_ms: list[int] = given[_TIMESTAMP].dt.epoch("ms").to_list()
        return published_ms
    return None


def _without_place(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Rows of a snapshot in the contract's types, without where they stood in the log."""
    place = [name for name in PLACE.names if name in frame]
    if not place:
        return frame
    return from_arrow(frame.drop(place).to_arrow(compat_level=pl.CompatLevel.oldest()), contract)


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.Series(ROW, range(frame.height), dtype=pl.UInt32))


def _row_frames(rows: pl.DataFrame | Sequence[Event], contract: Contract) -> Iterable[pl.DataFrame]:
    if isinstance(rows, pl.DataFrame):
        return [_numbered(rows)]
    return frames_of(dict(enumerate(rows)), contract)


def _dead_letter(topic: str, letter: Letter) -> DeadLetter:
    said = {name.removeprefix(PREFIX): (value or b"").decode() for name, value in letter.headers}
    row, code = int(said["offset"]), Code(said["code"])
    return DeadLetter(topic, row, code, said["message"], said["step"])


def _bad_input(text: str) -> DeclarationError:
    return DeclarationError([Problem("BAD_INPUT", text)])
