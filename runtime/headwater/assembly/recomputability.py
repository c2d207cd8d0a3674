"""Whether what a product publishes is a function of the records of its inputs, and why not.

It is where every row hangs on one partition of an input alone, from its first record on: on the
records, their order there, and the event time that they tell. How they fell into batches and
transactions never counts (promise 4), nor when they were processed.
"""

from collections.abc import Iterator

from headwater.assembly.project import LoadedProduct
from headwater.flow import Section, StatefulStage
from headwater.ports import Topics
from headwater.product import Join, JoinAsof, Late, StreamJoin


def why_not(loaded: LoadedProduct, topics: Topics) -> str:
    """What the results hang on besides, in words, with the step that makes it so; else empty."""
    return next(_reasons(loaded, topics), "")


def _reasons(loaded: LoadedProduct, topics: Topics) -> Iterator[str]:
    yield from _joins(loaded)
    for section in loaded.sections:
        if section.writes is not None:
            yield (
                f"its rows change their key and go through {section.sink}, where those of several"
                " partitions interleave, and which is emptied as it is read"
            )
    for stream in loaded.product.inputs:
        if stream.start != "earliest":
            yield f"it reads {stream.topic} from another place than the beginning"
    yield from _idle(loaded, topics)


def _joins(loaded: LoadedProduct) -> Iterator[str]:
    for output in loaded.product.outputs:
        for step in output.flow.steps:
            match step:
                case Join() | JoinAsof():
                    other = f"{step.table.topic}, and what that held when a record came"
                case StreamJoin():
                    other = f"{step.right.topic}, and how the records of two topics came together"
                case _:
                    continue
            yield f"{step.name} of {output.topic} joins {other} is kept nowhere"


def _idle(loaded: LoadedProduct, topics: Topics) -> Iterator[str]:
    """A partition that is idle goes along with the others, and when it was is told by the clock."""
    for section in loaded.sections:
        stream = section.stream
        is_alone = topics.partitions(stream.topic) == 1  # and goes along with none
        if stream.idle_after_s is not None and not is_alone:
            for name in _by_event_time(section):
                yield (
                    f"{name} of {section.output} goes by event time, which idle_after on"
                    f" {stream.topic} moves by the clock"
                )


def _by_event_time(section: Section) -> Iterator[str]:
    for stage in section.plan.stages:
        if isinstance(stage.step, Late) or (
            isinstance(stage, StatefulStage) and stage.needs_event_time
        ):
            yield stage.step.name
