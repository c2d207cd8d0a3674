"""What is wrong with joins of two streams, whatever their columns are."""

from collections.abc import Iterator, Sequence
from typing import Final, get_args

from headwater.product.durations import duration_ms
from headwater.product.flow import Flow
from headwater.product.names import is_naming
from headwater.product.steps import JoinKind, LatePolicy, Stream, StreamJoin
from headwater.product.windows import LONGEST_MS

NAMING: Final = 'columns is no {"name in the other": "name in the result"} with names that differ'


def stream_join_mistakes(flow: Flow, inputs: Sequence[Stream]) -> Iterator[str]:
    """A sentence for each mistake in the joins of a flow; `inputs` are the product's streams."""
    for step in flow.steps:
        if isinstance(step, StreamJoin) and (mistake := _mistake(step, inputs)):
            yield f"{step.name}: {mistake}"


def _mistake(step: StreamJoin, inputs: Sequence[Stream]) -> str | None:
    if not any(step.right is stream for stream in inputs):
        return "joins no stream of this product; give a flow of what product.stream() returns"
    for name, given, is_zero_taken in (
        ("within", step.within, False),
        ("allowed_lateness", step.allowed_lateness, True),
    ):
        length = 0 if is_zero_taken and given == "0s" else duration_ms(given)
        if length is None or length > LONGEST_MS:
            return f"{name}={given!r} is no duration up to ten years; write such as '90s' or '2h'"
    if step.how not in get_args(JoinKind):
        return f"how={step.how!r} is neither 'left' nor 'inner'"
    if step.late not in get_args(LatePolicy):
        return f"late={step.late!r} is neither 'drop' nor 'dead-letter'"
    return None if is_naming(step.columns) else NAMING
