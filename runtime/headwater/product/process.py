"""What the functions of a `process` step may ask for beside event and state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(slots=True)
class ProcessContext:
    """The key of a call, and what is to become of it; made anew for each call.

    `key` are the columns of the stream's key. `timers` are the times asked for in this call.
    """

    key: Mapping[str, Any]
    timers: set[datetime] = field(default_factory=set)
    is_forgotten: bool = False

    def set_timer(self, at: datetime) -> None:
        """Call `on_timer` for this key when the watermark reaches `at`; once for equal times.

        A time that the watermark has passed already is due at once, behind this call.
        Raises TypeError for a time without a zone.
        """
        if at.utcoffset() is None:
            message = "a timer wants a time with a zone"
            raise TypeError(message)
        self.timers.add(at)

    def forget(self) -> None:
        """Delete the state of this key, and its timers, behind this call."""
        self.is_forgotten = True


ProcessFunction = Callable[[Any, Any], Any] | Callable[[Any, Any, ProcessContext], Any]
"""Takes an event and the state of its key, which it changes, and the context if it wants it."""
TimerFunction = Callable[[Any, datetime], Any] | Callable[[Any, datetime, ProcessContext], Any]
"""Takes the state of a key and the time of a timer, and the context if it wants it."""
