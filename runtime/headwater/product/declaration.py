"""The declaration of one data product. Collects inputs, outputs and every mistake; runs nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from headwater.errors import Problem
from headwater.product.flow import Flow, Stream
from headwater.product.names import (
    contract_mistake,
    port_name_mistake,
    product_name_mistake,
    topic_name_mistake,
)
from headwater.product.origin import Origin, caller
from headwater.product.snapshot import Snapshot, snapshot_mistakes

INVALID_NAME: Final = "INVALID_NAME"
INVALID_VALUE: Final = "INVALID_VALUE"


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output log: its topic, contract version, and the flow whose rows it carries."""

    topic: str
    port: str | None
    contract: int
    flow: Flow
    origin: Origin


class DataProduct:
    """A data product: `name` is `<domain>.<product>` and its topic, `owner` who answers for it.

    A mistake does not raise: it joins `problems`, so that all of them are told at once.
    """

    def __init__(self, name: str, *, owner: str, snapshot: Snapshot | None = None) -> None:
        self.name = str(name)
        self.owner = str(owner)
        self.snapshot = snapshot if isinstance(snapshot, Snapshot) else None
        self.origin = caller()
        self._inputs: list[Stream] = []
        self._outputs: list[Output] = []
        self._is_publishing = False  # an output that is a mistake is not a missing one too
        self._problems: list[Problem] = []
        self._report(INVALID_NAME, product_name_mistake(name))
        self._report(INVALID_VALUE, _owner_mistake(owner))
        for mistake in snapshot_mistakes(snapshot) if snapshot is not None else ():
            self._report(INVALID_VALUE, mistake)

    def __repr__(self) -> str:
        return f"DataProduct({self.name!r})"

    @property
    def inputs(self) -> tuple[Stream, ...]:
        """The declared inputs, in order."""
        return tuple(self._inputs)

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
                    bool(self._inputs),
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

    def stream(self, topic: str, *, contract: int, start: str = "earliest") -> Flow:
        """Read every event of a log. `contract` is the version of its contract to read with.

        `start` is where the first run begins: "earliest", "latest", or an ISO 8601 time with zone.
        """
        stream = Stream(str(topic), contract, str(start), caller())
        self._report(INVALID_NAME, topic_name_mistake(topic))
        self._report(INVALID_VALUE, contract_mistake(contract))
        self._report(INVALID_VALUE, _start_mistake(start))
        earlier = next((other for other in self._inputs if other.topic == stream.topic), None)
        if earlier is not None:
            self._report(
                "INPUT_TWICE",
                f"{topic} is already read at line {earlier.origin.line};"
                " keep one stream and build every flow from it",
            )
        self._inputs.append(stream)
        return Flow(stream)

    def publish(self, flow: Flow, *, contract: int, port: str | None = None) -> None:
        """Publish the rows of a flow under a contract version of this product.

        The topic is the product's name; a further output has a `port`: `<name>.<port>`.
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
        earlier = next((other for other in self._outputs if other.topic == topic), None)
        if earlier is not None:
            self._report(
                "OUTPUT_TWICE",
                f"{topic} is already published at line {earlier.origin.line}; give one a port",
            )
        self._outputs.append(Output(topic, port, contract, flow, caller()))

    def _report(self, code: str, mistake: str | None) -> None:
        if mistake is not None:
            origin = caller()
            self._problems.append(Problem(code, mistake, origin.file, origin.line))


def _is_flow(value: object) -> bool:
    return isinstance(value, Flow)


def _owner_mistake(owner: object) -> str | None:
    if not isinstance(owner, str):
        return f"owner={owner!r} is no text; name the team or the address that answers"
    if not owner.strip():
        return "owner is empty; name the team or the address that answers"
    return None


def _start_mistake(start: object) -> str | None:
    if not isinstance(start, str):
        return f"start={start!r} is no text; write 'earliest', 'latest' or an ISO 8601 time"
    if start in {"earliest", "latest"}:
        return None
    try:
        time = datetime.fromisoformat(start)
    except ValueError:
        return f"start={start!r} is neither 'earliest', 'latest' nor an ISO 8601 time"
    if time.tzinfo is None:
        return f"start={start!r} has no zone; write such as '2026-01-31T00:00:00Z'"
    return None
