"""The declared policy of a product's snapshots."""

import re
from dataclasses import dataclass
from typing import Final

_DURATION: Final = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Cut a snapshot `every` so often ("90s", "15m", "1h"), in this mode ("append")."""

    every: str
    mode: str = "append"

    @property
    def every_s(self) -> float:
        """The interval in seconds. Only for a snapshot without mistakes."""
        match = _DURATION.fullmatch(self.every)
        if match is None:
            raise ValueError(snapshot_mistakes(self)[0])
        return int(match[1]) * _SECONDS[match[2]]


def snapshot_mistakes(snapshot: object) -> list[str]:
    """What is wrong with a policy; empty when it is right."""
    if not isinstance(snapshot, Snapshot):
        return [f"snapshot={snapshot!r} is no policy; write such as Snapshot(every='15m')"]
    mistakes = []
    match = _DURATION.fullmatch(str(snapshot.every))
    if match is None or int(match[1]) == 0:
        mistakes.append(
            f"snapshot every={snapshot.every!r} is no duration; write such as '15m' or '1h'"
        )
    if snapshot.mode != "append":
        mistakes.append(f"snapshot mode={snapshot.mode!r} is not known; write mode='append'")
    return mistakes
