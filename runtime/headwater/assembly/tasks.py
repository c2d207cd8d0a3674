"""The tasks of a product, one per input: what `run` and a replay of dead letters both do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from headwater.assembly.project import LoadedProduct
from headwater.assembly.registration import SchemaIds
from headwater.assembly.subjects import value_subject
from headwater.assembly.topic_schemas import TopicSchemas, subject_of
from headwater.contract import (
    Contract,
    Decoder,
    Encoder,
    KeyReader,
    RepartitionRows,
    TopicDecoder,
    guid_header,
)
from headwater.engine import (
    MOST_SOURCES,
    InputPolicy,
    LetterWriter,
    Repartition,
    Route,
    SectionTask,
    Stores,
    TableTask,
    Task,
    join_tasks,
)
from headwater.errors import DeclarationError, Problem, StartRefusedError
from headwater.flow import Section
from headwater.model import Headers, OnIncompatible
from headwater.ports import Registry, Topics
from headwater.product import Output, Stream, Table


@dataclass(frozen=True, slots=True)
class TaskMaker:
    """Makes the task of an input. `ids` are the schema ids of the outputs, by topic.

    `always_framed`: no schema is named in a header, for outputs that are never published.
    `stores` are those of the steps with state, where the plans have none yet; `repartitions` are
    the partition counts of repartition topics.
    """

    loaded: LoadedProduct
    ids: Mapping[str, SchemaIds]
    registry: Registry
    topics: Topics
    letters: LetterWriter
    on_incompatible: OnIncompatible = "dead-letter"
    always_framed: bool = False
    stores: Stores = field(default_factory=Stores)
    repartitions: Mapping[str, int] = field(default_factory=dict)

    def tasks(self) -> dict[str, Task]:
        """The task of every topic that is read, repartition topics behind the inputs; see `task`.

        Raises StartRefusedError (TOO_MANY_PARTITIONS) as well.
        """
        found = {topic: self.task(streams[0]) for topic, streams in self.loaded.streams().items()}
        found |= {t: self._section(t, s) for t, s in self.loaded.repartitions.items()}
        for left, right in self.loaded.joined:
            join_tasks(left.output, found[left.topic], found[right.topic])
        return found

    def _section(self, topic: str, sections: Sequence[Section]) -> Task:
        """Run and encode the rows of a repartition topic."""
        read = next(each for each in self.loaded.sections if each.sink == topic).topic
        sources = self.repartitions.get(read) or self.topics.partitions(read) or 0
        if sources > MOST_SOURCES:
            raise StartRefusedError(
                f"{read} has {sources} partitions, and event time goes through {topic} for "
                f"{MOST_SOURCES} at most; key {read} as the steps behind it need it",
                code="TOO_MANY_PARTITIONS",
            )
        return SectionTask(
            cast("RepartitionRows", sections[0].reads),  # who has a source has what it reads
            [self._route(each, 0) for each in sections],
            origin=sections[0].stream.topic,
            sources=sources,
            dead_letters=self.letters,
        )

    def task(self, stream: Stream) -> Task:
        """Decode, run and encode the records of one input, all its types of events.

        Raises DeclarationError (INCOMPATIBLE_SCHEMA) when its newest schema cannot be read.
        """
        lookup = TopicSchemas(self.registry, stream).schema
        streams = self.loaded.streams()[stream.topic]
        decoders = [Decoder(self.loaded.inputs[each.contract_name], lookup) for each in streams]
        for decoder in decoders:
            self._refuse_unreadable(stream, decoder)
        snapshot = self.loaded.product.snapshot
        policy = self.topics.config(stream.topic).get("cleanup.policy", "")
        routes = [
            route for place, each in enumerate(streams) for route in self._routes(each, place)
        ]
        return Task(
            TopicDecoder(decoders, skips_others=stream.others == "skip"),
            routes,
            dead_letters=self.letters,
            keys=[
                KeyReader(self.loaded.inputs[each.contract_name], self.registry.schema)
                for each in streams
            ],
            policy=InputPolicy(
                "compact" in policy,
                self.on_incompatible,
                stream.idle_after_s,
                keeps_event_time=snapshot is not None and snapshot.mode == "daily",
            ),
        )

    def table_task(self, table: Table) -> TableTask:
        """Take the records of a broadcast table into the rows that its joins look up.

        Raises DeclarationError (INCOMPATIBLE_SCHEMA) when its newest schema cannot be read: the
        rows would go stale unseen.
        """
        contract = self.loaded.inputs[table.topic]
        decoder = Decoder(contract, TopicSchemas(self.registry, table.source).schema)
        if self.on_incompatible != "dead-letter":
            self._refuse(table.source, decoder)
        return TableTask(
            decoder,
            KeyReader(contract, self.registry.schema),
            self.loaded.tables[table.topic].rows,
            on_incompatible=self.on_incompatible,
        )

    def _routes(self, stream: Stream, place: int) -> list[Route]:
        return [
            self._route(section, place)
            for section in self.loaded.sections
            if section.source is None and section.stream is stream
        ]

    def _route(self, section: Section, place: int) -> Route:
        output, plan = self.loaded.output(section.output), section.plan
        stores = self.stores.of(section.output, [each.step.name for each in plan.stateful])
        if stores:
            plan = plan.with_stores({each.step: each.store for each in stores})
        held = [each.store for each in stores]
        if section.writes is not None:
            sink = Repartition(section.sink, section.writes, self.repartitions[section.sink])
            return Route(section.sink, plan, sink, place, stores=held)
        encoder, headers = self._encoder(output)
        return Route(output.topic, plan, encoder, place, headers, held)

    def _encoder(self, output: Output) -> tuple[Encoder, Headers]:
        contract, ids = self.loaded.outputs[output.topic], self.ids[output.topic]
        in_header = output.schema_id == "header" and not self.always_framed
        encoder = Encoder(contract, None if in_header else ids.value, ids.key)
        return encoder, guid_header(self._guid(output, contract)) if in_header else ()

    def _guid(self, output: Output, contract: Contract) -> UUID:
        subject = value_subject(output.topic)
        found = self.registry.lookup(subject, contract.text)
        if found is None or found.guid is None:
            text = (
                f"the schema registry gives no GUID for {subject}, which a header would hold; "
                "publish without schema_id='header', or use a registry that gives GUIDs"
            )
            origin = output.origin
            raise DeclarationError([Problem("NO_SCHEMA_GUID", text, origin.file, origin.line)])
        return found.guid

    def _refuse_unreadable(self, stream: Stream, decoder: Decoder) -> None:
        """Promise 5: an incompatible upstream stops at the door.

        Not a product that ran before: it goes on to read what it can, and each partition stops
        where it must. A restart would turn one halted partition into an outage otherwise.
        """
        if self._is_refusing(stream.topic):
            self._refuse(stream, decoder)

    def _refuse(self, stream: Stream, decoder: Decoder) -> None:
        contract = decoder.contract
        subject = subject_of(stream.topic, stream.subjects, contract.record.name)
        latest = None if subject is None else self.registry.latest(subject)
        reasons = decoder.check(latest.schema) if latest is not None else []
        if reasons and latest is not None:
            raise DeclarationError(
                [
                    Problem(
                        "INCOMPATIBLE_SCHEMA",
                        f"version {latest.version} of {latest.subject} cannot be read with "
                        f"contract {contract.version}: {reason}",
                        str(contract.path),
                    )
                    for reason in reasons
                ]
            )

    def _is_refusing(self, topic: str) -> bool:
        match self.on_incompatible:
            case "pause":
                return not self.topics.group_offsets(self.loaded.name, topic)
            case "dead-letter":
                return False
            case "stop":
                return True
