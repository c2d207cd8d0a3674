"""A flow in sections: cut where its key changes, so that each reads one topic and ends in one.

Between two sections lies a repartition topic. The first reads the input; the last ends in the
output. A join of two streams has such a line on either side; both end in the output.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from headwater.contract import LINEAGE, RepartitionRows
from headwater.errors import DeclarationError
from headwater.flow.grouping import rekey_needed
from headwater.flow.nullable import nullable_columns
from headwater.flow.plan import NO_GROUND, Ground, Plan
from headwater.flow.stage import Columns, Defaults, refused, unknown_column
from headwater.flow.stream_join import Side, Sides
from headwater.product import (
    AggregateStep,
    Flow,
    Late,
    Latest,
    Rekey,
    RowLocalStep,
    Step,
    Stream,
    StreamJoin,
    WindowedAggregate,
)

SUFFIX: Final = ".repartition"
Typed = tuple[Columns | None, Defaults | None]
"""What types the last step: columns and defaults of the output contract."""
UNTYPED: Final[Typed] = (None, None)


def repartition_of(output: str, step: str) -> str:
    """The repartition topic of a step: outputs do not share steps, each has run it on its own."""
    return f"{output}.{step}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Section:
    """Steps between two topics of a flow for `output`.

    `stream` is the input that its rows are made of. `source` is the topic it reads: None for that
    input, else a repartition topic, whose records are `reads`. `sink` is the topic it ends in: the
    output, or a repartition topic, of `writes`. `is_right`: it is of the flow that a join takes.
    """

    output: str
    stream: Stream
    plan: Plan
    source: str | None
    sink: str
    reads: RepartitionRows | None = None
    writes: RepartitionRows | None = None
    is_right: bool = False

    @property
    def topic(self) -> str:
        """The topic it reads, be it the input or a repartition topic."""
        return self.source or self.stream.topic


def sections_of(
    flow: Flow,
    output: str,
    columns: Columns,
    typed: Typed = UNTYPED,
    ground: Ground = NO_GROUND,
) -> list[Section]:
    """The sections of a flow, at least one; `columns` are those of the input contract.

    With a join of two streams those of the left come first, and the last of either side ends in the
    output. Raises DeclarationError with the mistakes of the first section that has some.
    """
    places = [place for place, step in enumerate(flow.steps) if isinstance(step, StreamJoin)]
    if not places:
        branch = _Branch(flow, output, columns, ground)
        return [*branch.sections, branch.last((), typed)]
    join, *behind = flow.steps[places[0] :]
    return _joined(flow, cast("StreamJoin", join), behind, (output, columns, typed, ground))


class _Branch:
    """The sections of a flow, but for the steps behind its last change of key."""

    def __init__(
        self, flow: Flow, output: str, columns: Columns, ground: Ground, *, is_right: bool = False
    ) -> None:
        self.sections: list[Section] = []
        self._flow = flow
        self._output = output
        self._columns = columns
        self._ground = ground
        self._is_right = is_right
        self._source: str | None = None
        self._reads: RepartitionRows | None = None
        self._steps: list[Step] = []
        for step in _with_rekeys(flow.steps, ground.key):
            if isinstance(step, Rekey):
                self._move(step)
            else:
                self._steps.append(step)

    @property
    def topic(self) -> str:
        """What the last section reads."""
        return self._source or self._flow.stream.topic

    def side(self) -> Side:
        """What comes out of the steps that are there."""
        return Side(self._plan(self._steps).columns, self._ground.key)

    def last(self, behind: Sequence[Step], typed: Typed, sides: Sides | None = None) -> Section:
        """The section that ends in the output; `behind` are further steps of it."""
        plan = self._plan([*self._steps, *behind], typed, sides)
        return self._section(plan, self._output)

    def _move(self, step: Rekey) -> None:
        plan = self._plan(self._steps)
        self._columns, writes = _moved(step, plan)
        sink = repartition_of(self._output, step.name)
        self.sections.append(self._section(plan, sink, writes))
        self._source, self._reads, self._steps = sink, writes, []
        self._ground = replace(self._ground, key=step.columns)

    def _plan(
        self, steps: Sequence[Step], typed: Typed = UNTYPED, sides: Sides | None = None
    ) -> Plan:
        flow = replace(self._flow, steps=tuple(steps))
        return Plan(flow, self._columns, *typed, replace(self._ground, sides=sides))

    def _section(self, plan: Plan, sink: str, writes: RepartitionRows | None = None) -> Section:
        return Section(
            self._output,
            self._flow.stream,
            plan,
            self._source,
            sink,
            self._reads,
            writes,
            self._is_right,
        )


def _joined(
    flow: Flow,
    join: StreamJoin,
    behind: Sequence[Step],
    of: tuple[str, Columns, Typed, Ground],
) -> list[Section]:
    """The sections of a flow that is joined with another."""
    output, columns, typed, ground = of
    for step in behind:
        if isinstance(step, Rekey):
            raise _behind(step, join, "has state")
    for step in join.right_steps:
        if not isinstance(step, RowLocalStep | Rekey):
            text = (
                f"{step.name} of the flow it takes looks at other rows; publish what comes out of"
                " that, and join it in a product that reads it"
            )
            raise refused(join, "BEHIND_STATE", text)
    head = flow.steps[: flow.steps.index(join)]
    left = _Branch(replace(flow, steps=head), output, columns, ground)
    contract = ground.inputs[join.right.contract_name]
    right_ground = replace(ground, key=contract.key, event_time=contract.event_time)
    right_flow = Flow(join.right, join.right_steps)
    right = _Branch(right_flow, output, contract.columns, right_ground, is_right=True)
    if left.topic == right.topic:
        text = (
            f"both sides read {left.topic}, whose records have one order; publish one side, and"
            " join it in a product that reads both"
        )
        raise refused(join, "ONE_TOPIC", text)
    steps = [join, *behind]
    sides = left.side(), right.side()
    return [
        *left.sections,
        left.last(steps, typed, Sides(*sides, is_left=True)),
        *right.sections,
        right.last(steps, typed, Sides(*sides, is_left=False)),
    ]


def _with_rekeys(steps: Sequence[Step], key: tuple[str, ...]) -> Iterator[Step]:
    """The steps, and a rekey of its name before each that groups by other columns than the key."""
    for step in steps:
        if isinstance(step, AggregateStep | Late) and (columns := rekey_needed(step, key)):
            yield Rekey(step.name, step.origin, columns)
            key = columns
        elif isinstance(step, Rekey):
            key = step.columns
        yield step


def with_shared_topics(flows: Mapping[str, Flow], sections: Sequence[Section]) -> Sequence[Section]:
    """The sections of a product, where late rows are those of the topic their windows read.

    `flows` by output. In a topic of their own the rows of several writers would stand in another
    order: a row might be late there and not here, and be in no output.
    Raises DeclarationError where several outputs have such windows, each with a topic of its own.
    """
    found: list[Section] = []
    for output, flow in flows.items():
        own = [each for each in sections if each.output == output]
        twins = [other for other in flows if len(own) > 1 and _is_late_for(flow, flows[other])]
        if len(twins) > 1:
            (step,) = (each for each in flow.steps if isinstance(each, Late))
            text = (
                f"{' and '.join(twins)} have its windows, each behind a repartition topic of its "
                "own where other rows may be late; publish the late rows of one of them, and the "
                "other from a product of its own"
            )
            raise refused(step, "LATE_OF_SEVERAL", text)
        for twin in twins:
            source = next(each.source for each in reversed(sections) if each.output == twin)
            own = [replace(own[-1], source=source)]
        found += own
    return found


def _is_late_for(flow: Flow, other: Flow) -> bool:
    """Whether a flow has the late rows of the windows of another."""
    for place, step in enumerate(flow.steps):
        if isinstance(step, Late) and flow.stream is other.stream:
            front, windows = other.steps[:place], other.steps[place : place + 1]
            return front == flow.steps[:place] and any(_is_of(step, each) for each in windows)
    return False


def _is_of(step: Late, windows: Step) -> bool:
    return isinstance(windows, WindowedAggregate) and (
        (windows.key, windows.windows, windows.allowed_lateness)
        == (step.key, step.windows, step.allowed_lateness)
    )


def nullable_of(sections: Sequence[Section]) -> Mapping[str, str]:
    """The columns that come out null where a left join finds nothing, with its name."""
    return nullable_columns(
        [stage for each in sections if not each.is_right for stage in each.plan.stages]
    )


def _moved(step: Rekey, plan: Plan) -> tuple[Columns, RepartitionRows]:
    """The columns that go through the topic of a step, and how they are written there."""
    columns = plan.columns
    if columns is None:
        text = "only data tells the columns of the steps before it; put it before them"
        raise refused(step, "UNKNOWN_COLUMNS", text)
    for name in step.columns:
        if name not in columns:
            raise refused(step, "UNKNOWN_COLUMN", unknown_column(name, columns))
    for name in columns.keys() & LINEAGE.keys():
        text = f"the name {name} is Headwater's own column; choose another"
        raise refused(step, "RESERVED_NAME", text)
    _refuse_behind(step, plan)
    try:
        return columns, RepartitionRows(columns, step.columns)
    except DeclarationError as error:
        raise refused(step, "INVALID_STEP", str(error.problems[0].message)) from error


def _refuse_behind(step: Rekey, plan: Plan) -> None:
    for each in plan.flow.steps:
        if isinstance(each, Late):
            raise _behind(step, each, "has late rows")
    for stage in plan.stateful:
        if not isinstance(stage.step, Latest):
            raise _behind(step, stage.step, "has state")


def _behind(step: Rekey, other: Step, what: str) -> DeclarationError:
    text = (
        f"comes behind {other.name}, which {what}; publish what comes out of that,"
        " and go on in a product that reads it"
    )
    return refused(step, "BEHIND_STATE", text)
