"""Which stage keeps the state of which step."""

from headwater.flow.annotations import annotations_read, check_function
from headwater.flow.dedupe import DedupeStage
from headwater.flow.process import ProcessStage
from headwater.flow.running import RunningStage
from headwater.flow.sessions import ChangingSessions, SessionStage
from headwater.flow.stage import Columns, Defaults, refused
from headwater.flow.stateful import LatestStage, StatefulStage
from headwater.flow.windowed import (
    ChangingWindows,
    ClosingWindows,
    WindowStage,
    check_telling,
    check_windows,
)
from headwater.product import (
    Dedupe,
    Latest,
    OneStreamStep,
    Process,
    RunningAggregate,
    WindowedAggregate,
)
from headwater.product.windows import TimeWindows


def stateful_stage(
    step: OneStreamStep,
    given: Columns | None,
    stream_key: tuple[str, ...],
    output: Columns | None = None,
    defaults: Defaults | None = None,
) -> StatefulStage:
    """The stage of a step; `output` and `defaults` are of the contract, where it is the last.

    Raises DeclarationError, also where only data tells the columns.
    """
    if given is None:
        text = "only data tells the columns of the steps before it; put it before them"
        raise refused(step, "UNKNOWN_COLUMNS", text)
    match step:
        case Latest():
            return LatestStage(step, given, stream_key)
        case RunningAggregate():
            return RunningStage(step, given, stream_key)
        case WindowedAggregate():
            return _windowed(step, given, stream_key)
        case Dedupe():
            return DedupeStage(step, given, stream_key)
        case Process():
            check_function(step, step.function)
            if step.on_timer is not None:
                check_function(step, step.on_timer)
            known = (output, (defaults or {}) if output is not None else {})
            with annotations_read(step):
                return ProcessStage(step, given, stream_key, *known)


def _windowed(step: WindowedAggregate, given: Columns, stream_key: tuple[str, ...]) -> WindowStage:
    check_windows(step)
    check_telling(step)
    is_told_once = step.emit == "on_close"
    if not isinstance(step.windows, TimeWindows):
        return (SessionStage if is_told_once else ChangingSessions)(step, given, stream_key)
    made = ClosingWindows if is_told_once else ChangingWindows
    return made(step, given, stream_key)
