"""Named places where a test may kill this process: `HEADWATER_FAIL=after_produce:kill@3`.

Reads the environment once, at import; without it a reached place costs one dictionary look-up.
The grammar is `<point>:<action>@<n>`, comma between several: the action happens the n-th time.
"""

import os
import signal
import threading
from typing import Final, Literal

Point = Literal[
    "after_produce",
    "after_send_offsets",
    "during_commit",
    "after_commit",
    "after_flush",  # of one store: the next ones are behind it
    "during_restore",  # a slice of a changelog is stored
    "during_checkpoint",  # it is begun, and is not yet to be found
]
SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def _parse(text: str) -> dict[str, tuple[signal.Signals, int]]:
    armed = {}
    for item in filter(None, text.split(",")):
        point, _, action = item.partition(":")
        name, _, count = action.partition("@")
        armed[point] = (SIGNALS[name], int(count or 1))
    return armed


DELAYS_S: Final = {
    "during_commit": 0.003
}  # a commit takes some 9 ms: this falls into the middle of the call


_armed: Final = _parse(os.environ.get("HEADWATER_FAIL", ""))
_reached: Final[dict[str, int]] = {}


def reach(point: Point) -> None:
    """Say that this place is reached; dies or stops here when told to."""
    if point not in _armed:
        return
    _reached[point] = _reached.get(point, 0) + 1
    action, count = _armed[point]
    if _reached[point] != count:
        return
    if point in DELAYS_S:
        threading.Timer(DELAYS_S[point], os.kill, (os.getpid(), action)).start()
    else:
        os.kill(os.getpid(), action)
