"""One run of a `process` step over a batch: records and timers call the author's functions."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from headwater.flow.blame import FAULTS, INTERRUPTIONS, is_out_of_memory, quarantine
from headwater.flow.events import Event, ReturnedEvents
from headwater.flow.stage import refused
from headwater.flow.state_objects import StateObjects
from headwater.model import Quarantine
from headwater.product import Process, ProcessContext

TaskKey = tuple[int, bytes]
"""A task and a key in it."""
Timer = tuple[int, bytes]
"""When it is due, in microseconds since 1970-01-01 UTC, and the key."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class NotLaterError(ValueError):
    """`on_timer` asked for a time that is not later than its own: that would have no end."""


class Visit(NamedTuple):
    """A record: its row, its task, and the watermark in front of it, in microseconds."""

    row: int
    task: int
    watermark: int


@dataclass(slots=True)
class Held:
    """What is kept of a key: its state, and the times it waits for in microseconds.

    `due` is the first of them as it is stored.
    """

    state: Any
    timers: set[int]
    due: int | None
    key: Mapping[str, Any]
    is_changed: bool = False
    is_forgotten: bool = False

    @property
    def next_timer(self) -> int | None:
        """The first time it waits for now."""
        return min(self.timers, default=None)


@dataclass(frozen=True, slots=True)
class Functions:
    """The author's functions of a step, and what they take and give."""

    step: Process
    objects: StateObjects
    returned: ReturnedEvents
    validate: Callable[[Event], Any] | None
    wants_context: bool
    timer_wants_context: bool

    def of_record(self, event: Event, state: Any, context: ProcessContext) -> Sequence[Event]:
        """What the function makes of a record."""
        given = event if self.validate is None else self.validate(event)
        function: Any = self.step.function
        if self.wants_context:
            return self._events(function(given, state, context))
        return self._events(function(given, state))

    def of_timer(self, state: Any, at: int, context: ProcessContext) -> Sequence[Event]:
        """What `on_timer` makes of a timer."""
        function: Any = self.step.on_timer
        when = _EPOCH + at * _MICROSECOND
        if self.timer_wants_context:
            events = self._events(function(state, when, context))
        else:
            events = self._events(function(state, when))
        if min(context.timers, default=datetime.max.replace(tzinfo=UTC)) <= when:
            raise NotLaterError
        return events

    def _events(self, result: Any) -> Sequence[Event]:
        events = self.returned.events(result)
        # a list in an event may be one of the state, which the next record changes
        return deepcopy(events) if events and self.returned.is_nested else events


@dataclass(slots=True)
class Calls:
    """The calls of one run, in order, and what comes of them.

    `ends` are the watermarks of the tasks behind the batch. `is_careful`: the state is looked at
    behind each call, to find the one that made it a misfit.
    `rows` and `out` are the events that came out; `is_broken`: a timer raised or memory ran out,
    and nothing counts.
    """

    functions: Functions
    held: Mapping[TaskKey, Held]
    ends: Mapping[int, int]
    no_row: int
    is_careful: bool = False
    rows: list[int] = field(default_factory=list)
    out: list[Event] = field(default_factory=list)
    quarantined: list[Quarantine] = field(default_factory=list)
    is_broken: bool = False
    _row: int = 0
    _due: defaultdict[int, list[Timer]] = field(default_factory=lambda: defaultdict(list))

    def wait(self, task: int, timer: Timer) -> None:
        """Call a timer when its time comes, if that is in this batch."""
        if timer[0] <= self.ends[task]:
            heapq.heappush(self._due[task], timer)

    def visit(self, visit: Visit, key: bytes, event: Event) -> None:
        """What is due before a record, and the record."""
        self._fire(visit.task, visit.watermark)
        if not self.is_broken:
            self._record(visit, key, event)

    def finish(self) -> None:
        """What is due behind the batch."""
        for task, end in self.ends.items():
            self._fire(task, end)

    def refuse(self, error: BaseException) -> None:
        """The call that is being made raised."""
        step = self.functions.step
        self.is_broken = self._row == self.no_row
        function = step.on_timer if self.is_broken else step.function
        self.quarantined.append(quarantine(step, self._row, error, function))

    def _fire(self, task: int, time: int) -> None:
        due = self._due[task]
        while due and due[0][0] <= time and not self.is_broken:
            at, key = heapq.heappop(due)
            held = self.held[task, key]
            if at in held.timers:
                held.timers.discard(at)
                self._timer(task, (at, key), held)

    def _record(self, visit: Visit, key: bytes, event: Event) -> None:
        self._row, held = visit.row, self.held[visit.task, key]
        before = self.functions.objects.values(held.state)
        context = ProcessContext(held.key)
        try:
            events = self.functions.of_record(event, held.state, context)
            self._look_at(held)
        except INTERRUPTIONS:
            raise
        except FAULTS as error:
            if is_out_of_memory(error):
                raise  # a sandbox must see it
            self.refuse(error)
            self.functions.objects.put_back(held.state, before)
            return
        self._settle(visit.task, key, context)
        self._take(events)

    def _timer(self, task: int, timer: Timer, held: Held) -> None:
        self._row = self.no_row
        at, key = timer
        context = ProcessContext(held.key)
        try:
            events = self.functions.of_timer(held.state, at, context)
            self._look_at(held)
        except INTERRUPTIONS:
            raise
        except FAULTS as error:
            if is_out_of_memory(error):
                raise
            self.refuse(error)
            return
        self._settle(task, key, context)
        self._take(events)

    def _look_at(self, held: Held) -> None:
        if self.is_careful:
            self.functions.objects.frame([held.state])

    def _settle(self, task: int, key: bytes, context: ProcessContext) -> None:
        held = self.held[task, key]
        held.is_changed, held.is_forgotten = True, context.is_forgotten
        if context.is_forgotten:
            held.state = self.functions.objects.new()
            held.timers.clear()
            return
        if context.timers and self.functions.step.on_timer is None:
            text = "sets a timer, and nothing is called for it; give on_timer="
            raise refused(self.functions.step, "NO_ON_TIMER", text)
        for time in context.timers:
            at = (time - _EPOCH) // _MICROSECOND
            if at not in held.timers:
                held.timers.add(at)
                self.wait(task, (at, key))

    def _take(self, events: Sequence[Event]) -> None:
        self.out += events
        self.rows += [self._row] * len(events)
