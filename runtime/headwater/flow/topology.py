"""A flow in sections: cut where its key changes, so that each reads one topic and ends in one.

Between two sections lies a repartition topic. The first reads the input; the last ends in the
output.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from headwater.contract import LINEAGE, RepartitionRows
from headwater.errors import DeclarationError
from headwater.flow.grouping import rekey_needed
from headwater.flow.nullable import nullable_columns
from headwater.flow.plan import NO_GROUND, Ground, Plan
from headwater.flow.stage import Columns, Defaults, refused, unknown_column
from headwater.product import (
    AggregateStep,
    Flow,
    Late,
    Latest,
    Rekey,
    StatefulStep,
    Step,
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

    `source` is the topic it reads: None for the input, else a repartition topic, whose records are
    `reads`. `sink` is the topic it ends in: the output, or a repartition topic, of `writes`.
    """

    output: str
    plan: Plan
    source: str | None
    sink: str
    reads: RepartitionRows | None = None
    writes: RepartitionRows | None = None


def sections_of(
    flow: Flow,
    output: str,
    columns: Columns,
    typed: Typed = UNTYPED,
    ground: Ground = NO_GROUND,
) -> list[Section]:
    """The sections of a flow, at least one; `columns` are those of the input contract.

    Raises DeclarationError with the mistakes of the first section that has some.
    """
    found: list[Section] = []
    source, reads = None, None
    steps: list[Step] = []
    for step in _with_rekeys(flow.steps, ground.key):
        if not isinstance(step, Rekey):
            steps.append(step)
            continue
        plan = Plan(replace(flow, steps=tuple(steps)), columns, ground=ground)
        columns, writes = _moved(step, plan)
        sink = repartition_of(output, step.name)
        found.append(Section(output, plan, source, sink, reads, writes))
        source, reads, steps = sink, writes, []
        ground = replace(ground, key=step.columns)
    plan = Plan(replace(flow, steps=tuple(steps)), columns, *typed, ground)
    return [*found, Section(output, plan, source, output, reads)]


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
    return nullable_columns([stage for each in sections for stage in each.plan.stages])


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
    for each in plan.flow.steps:
        if isinstance(each, Late | StatefulStep) and not isinstance(each, Latest):
            what = "late rows" if isinstance(each, Late) else "state"
            text = (
                f"comes behind {each.name}, which has {what}; publish what comes out of that,"
                " and go on in a product that reads it"
            )
            raise refused(step, "BEHIND_STATE", text)
    try:
        return columns, RepartitionRows(columns, step.columns)
    except DeclarationError as error:
        raise refused(step, "INVALID_STEP", str(error.problems[0].message)) from error
