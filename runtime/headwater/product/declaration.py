"""The declaration of one data product. Collects inputs, outputs and every mistake; runs nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, get_args, overload

from headwater.clock import moment_ms
from headwater.errors import Problem
from headwater.product.dead_letters import DeadLetters, dead_letters_mistake
from headwater.product.durations import duration_ms
from headwater.product.flow import Flow
from headwater.product.names import (
    contract_mistake,
    is_naming,
    port_name_mistake,
    product_name_mistake,
    topic_name_mistake,
)
from headwater.product.origin import Origin, caller
from headwater.product.snapshot import Snapshot, snapshot_mistakes
from headwater.product.steps import (
    JoinAsof,
    JoinKind,
    Others,
    SchemaIdPlace,
    Stream,
    Subjects,
    Table,
    TableJoin,
)
from headwater.product.stream_joins import stream_join_mistakes

INVALID_NAME: Final = "INVALID_NAME"
INVALID_VALUE: Final = "INVALID_VALUE"
_VERSIONED: Final = "takes a versioned table; declare it with versioned=True, or use .join"
_NOT_VERSIONED: Final = "takes no versioned table; use .join_asof, or declare it without"
NAMING: Final = "columns is no mapping of the table's names to different ones, as {'year': 'built'}"


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output log: its topic, contract version, and the flow whose rows it carries.

    `schema_id` says where its records name their schema.
    """

    topic: str
    port: str | None
    contract: int
    flow: Flow
    origin: Origin
    schema_id: SchemaIdPlace = "prefix"


class DataProduct:
    """A data product: `name` is `<domain>.<product>` and its topic, `owner` who answers for it.

    `dead_letters` says what becomes of records behind one that was set aside.

    A mistake does not raise: it joins `problems`, so that all of them are told at once.
    """

    def __init__(
        self,
        name: str,
        *,
        owner: str,
        snapshot: Snapshot | None = None,
        dead_letters: DeadLetters | None = None,
    ) -> None:
        self.name = str(name)
        self.owner = str(owner)
        self.snapshot = snapshot if isinstance(snapshot, Snapshot) else None
        self.dead_letters = dead_letters if isinstance(dead_letters, DeadLetters) else DeadLetters()
        self.origin = caller()
        self._inputs: list[Stream] = []
        self._tables: list[Table] = []
        self._outputs: list[Output] = []
        self._is_reading = False  # an input that is a mistake is not a missing one too
        self._is_publishing = False
        self._problems: list[Problem] = []
        self._report(INVALID_NAME, product_name_mistake(name))
        self._report(INVALID_VALUE, _owner_mistake(owner))
        self._report(INVALID_VALUE, dead_letters_mistake(dead_letters))
        for mistake in snapshot_mistakes(snapshot) if snapshot is not None else ():
            self._report(INVALID_VALUE, mistake)

    def __repr__(self) -> str:
        return f"DataProduct({self.name!r})"

    @property
    def inputs(self) -> tuple[Stream, ...]:
        """The declared inputs, in order."""
        return tuple(self._inputs)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The declared tables, in order."""
        return tuple(self._tables)

    @property
    def reads(self) -> tuple[Stream, ...]:
        """Whatever is read with a pinned contract: the inputs, then the topics of the tables."""
        return (*self._inputs, *(table.source for table in self._tables))

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The declared outputs, in order."""
        return tuple(self._outputs)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every mistake of the declaration as far as it can be seen without contracts."""
        missing = [
            Problem(code, f"{self.name}: {text}", self.origin.file, self.origin.line)
            for found, code, text in (
                (
                    self._is_reading,
                    "NO_INPUT",
                    "no input; call product.stream(topic, contract=N)",
                ),
                (
                    self._is_publishing,
                    "NO_OUTPUT",
                    "no output; call product.publish(flow, contract=N)",
                ),
            )
            if not found
        ]
        return (*self._problems, *missing)

    @overload
    def stream(
        self,
        topic: str,
        *,
        contract: int,
        start: str = "earliest",
        subjects: Subjects = "topic",
        idle_after: str | None = None,
    ) -> Flow: ...

    @overload
    def stream(
        self,
        topic: str,
        *,
        contracts: Sequence[tuple[str, int]],
        start: str = "earliest",
        subjects: Subjects = "topic-record",
        others: Others = "refuse",
        idle_after: str | None = None,
    ) -> tuple[Flow, ...]: ...

    def stream(  # noqa: PLR0913 - two signatures in one; each caller sees its own
        self,
        topic: str,
        *,
        contract: int | None = None,
        contracts: Sequence[tuple[str, int]] | None = None,
        start: str = "earliest",
        subjects: Subjects | None = None,
        others: Others = "refuse",
        idle_after: str | None = None,
    ) -> Flow | tuple[Flow, ...]:
        """Read every event of a log. `contract` is the version of its contract to read with.

        A log of several types of events has `contracts`, a name and a version for each type that is
        wanted, and gives a flow for each, in their order. `others` says what becomes of records of
        further types: "refuse" them as unreadable, or "skip" them.

        `start` is where the first run begins: "earliest", "latest", or an ISO 8601 time with zone.
        `subjects` says how the log's writers name their subjects in the registry: by "topic",
        "record" or "topic-record".
        `idle_after` ("30s"): a partition that brings nothing for so long no longer holds event time
        back; without it, event time waits for every partition.
        """
        self._is_reading = True
        several = contracts is not None
        named = subjects or ("topic-record" if several else "topic")
        first = Stream(
            str(topic),
            contract or 0,
            str(start),
            caller(),
            subjects=named,
            others=others,
            idle_after=idle_after,
        )
        self._check_stream(first, topic, start)
        wanted = _wanted(contract, contracts)
        self._report(INVALID_VALUE, _contracts_mistake(contract, contracts))
        if others == "skip" and not several:
            text = "others='skip' goes with contracts=[...]; with contract=N there are no others"
            self._report(INVALID_VALUE, text)
        streams = [replace(first, event=event, contract=version) for event, version in wanted]
        for stream in streams:
            self._report(INVALID_VALUE, contract_mistake(stream.contract))
            if stream.event is not None:
                self._report(INVALID_NAME, topic_name_mistake(stream.event))
            self._report("INPUT_TWICE", self._name_mistake(stream))
            self._inputs.append(stream)
        flows = tuple(map(Flow, streams))
        return flows if several else flows[0]

    def table(
        self, topic: str, *, contract: int, broadcast: bool = False, versioned: bool = False
    ) -> Table:
        """Hold the rows of a topic by key, to join flows with.

        `contract` is the version of its contract to read with. A flow is joined on the key of its
        stream, and both topics have as many partitions; with `broadcast=True` every worker holds
        all of the table, so that a flow can be joined on any column.
        Of a compacted topic the newest row of each key is held, for `.join`; of a log that keeps
        every record all rows with `versioned=True`, by the `eventTime` of the contract, for
        `.join_asof`.
        """
        source = Stream(str(topic), contract, "earliest", caller())
        self._report(INVALID_NAME, topic_name_mistake(topic))
        self._report(INVALID_VALUE, contract_mistake(contract))
        for name, value in (("broadcast", broadcast), ("versioned", versioned)):
            if not _is_flag(value):
                self._report(INVALID_VALUE, f"{name}={value!r} is neither True nor False")
        for other in self.reads:
            if topic in {other.topic, other.contract_name}:
                text = f"{topic} is already read at line {other.origin.line}; read it once"
                self._report("INPUT_TWICE", text)
                break
        found = Table(source, bool(broadcast), bool(versioned))
        self._tables.append(found)
        return found

    def _check_stream(self, stream: Stream, topic: object, start: object) -> None:
        self._report(INVALID_NAME, topic_name_mistake(topic))
        self._report(INVALID_VALUE, _start_mistake(start))
        self._report(INVALID_VALUE, _idle_mistake(stream.idle_after))
        for name, given, known in (
            ("subjects", stream.subjects, get_args(Subjects)),
            ("others", stream.others, get_args(Others)),
        ):
            if given not in known:
                text = f"{name}={given!r} is none of {', '.join(map(repr, known))}"
                self._report(INVALID_VALUE, text)
        earlier = next((other for other in self.reads if other.topic == stream.topic), None)
        if earlier is not None:
            self._report(
                "INPUT_TWICE",
                f"{topic} is already read at line {earlier.origin.line};"
                " keep one stream and build every flow from it",
            )

    def _name_mistake(self, stream: Stream) -> str | None:
        """A contract is read in one place: the topics it is read from must agree on its version."""
        for other in self.reads:
            if (
                other.contract_name == stream.contract_name
                and (other.event or stream.event)  # one topic read twice is told as such
                and (other.contract != stream.contract or other.topic == stream.topic)
            ):
                return (
                    f"the contract {stream.contract_name} is read already, at line "
                    f"{other.origin.line}; read it once, or with one version"
                )
        return None

    def publish(
        self,
        flow: Flow,
        *,
        contract: int,
        port: str | None = None,
        schema_id: SchemaIdPlace = "prefix",
    ) -> None:
        """Publish the rows of a flow under a contract version of this product.

        The topic is the product's name; a further output has a `port`: `<name>.<port>`.
        Records name their schema by id before the body, which every reader knows, or with
        `schema_id="header"` by GUID in a header, for which the registry must give GUIDs.
        """
        self._is_publishing = True
        topic = self.name if port is None else f"{self.name}.{port}"
        if port is not None:
            self._report(INVALID_NAME, port_name_mistake(port))
        self._report(INVALID_VALUE, contract_mistake(contract))
        if not _is_flow(flow):
            self._report(INVALID_VALUE, "publish takes a flow, as product.stream(...) returns it")
            return
        if not any(flow.stream is stream for stream in self._inputs):
            self._report("FOREIGN_FLOW", f"the flow of {topic} reads a stream of another product")
        joins = (step for step in flow.steps if isinstance(step, TableJoin))
        mistakes = [mistake for step in joins if (mistake := self._join_mistake(step))]
        mistakes += stream_join_mistakes(flow, self._inputs)
        if mistakes:
            for mistake in mistakes:
                self._report(INVALID_VALUE, mistake)
            return
        earlier = next((other for other in self._outputs if other.topic == topic), None)
        if earlier is not None:
            self._report(
                "OUTPUT_TWICE",
                f"{topic} is already published at line {earlier.origin.line}; give one a port",
            )
        if schema_id not in get_args(SchemaIdPlace):
            text = f"schema_id={schema_id!r} is neither 'prefix' nor 'header'"
            self._report(INVALID_VALUE, text)
        self._outputs.append(Output(topic, port, contract, flow, caller(), schema_id))

    def _join_mistake(self, step: TableJoin) -> str | None:
        name, versioned = ("by", True) if isinstance(step, JoinAsof) else ("on", False)
        if not any(step.table is table for table in self._tables):
            return f"{step.name}: joins no table of this product; give what product.table() returns"
        if step.table.versioned != versioned:
            return f"{step.name}: {_VERSIONED if versioned else _NOT_VERSIONED}"
        if not _is_text(step.on):
            return f"{step.name}: {name}={step.on!r} is no column's name"
        if isinstance(step, JoinAsof) and not step.within_ms:
            return f"{step.name}: within is no duration; write such as '90s' or '2h'"
        if step.how not in get_args(JoinKind):
            return f"{step.name}: how={step.how!r} is neither 'left' nor 'inner'"
        return None if is_naming(step.columns) else f"{step.name}: {NAMING}"

    def _report(self, code: str, mistake: str | None) -> None:
        if mistake is not None:
            origin = caller()
            self._problems.append(Problem(code, mistake, origin.file, origin.line))


def _wanted(
    contract: int | None, contracts: Sequence[tuple[str, int]] | None
) -> list[tuple[str | None, int]]:
    """The names and versions to read with; (None, version) for the topic's own contract."""
    if contracts is None:
        return [(None, 0 if contract is None else contract)]
    try:
        return [(str(name), version) for name, version in contracts]
    except (TypeError, ValueError):  # told by `_contracts_mistake`
        return []


def _contracts_mistake(contract: object, contracts: object) -> str | None:
    if contracts is None:
        return None
    if contract is not None:
        return "give contract=N, or contracts=[...] for several types of events; not both"
    if not isinstance(contracts, Sequence) or not contracts or not all(map(_is_pair, contracts)):
        return f"contracts={contracts!r} is no list of names and versions, as [('a.b', 1)]"
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2  # noqa: PLR2004 - what a pair is


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_flow(value: object) -> bool:
    return isinstance(value, Flow)


def _owner_mistake(owner: object) -> str | None:
    if not isinstance(owner, str):
        return f"owner={owner!r} is no text; name the team or the address that answers"
    if not owner.strip():
        return "owner is empty; name the team or the address that answers"
    return None


def _idle_mistake(idle_after: object) -> str | None:
    if idle_after is None or (isinstance(idle_after, str) and duration_ms(idle_after) is not None):
        return None
    return f"idle_after={idle_after!r} is no duration; write such as '30s' or '10m'"


def _start_mistake(start: object) -> str | None:
    if not isinstance(start, str):
        return f"start={start!r} is no text; write 'earliest', 'latest' or an ISO 8601 time"
    if start in {"earliest", "latest"}:
        return None
    try:
        moment_ms(start)
    except ValueError:
        return (
            f"start={start!r} is neither 'earliest', 'latest' nor an ISO 8601 time with its zone;"
            " write such as '2026-01-31T00:00:00Z'"
        )
    return None
