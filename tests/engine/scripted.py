"""A sandbox in memory for the loop: what a child process would find, by script."""

from collections.abc import Callable, Sequence

from headwater.model import Code, Quarantine
from headwater.ports import Records


class ScriptedSandbox:
    """Finds what begins with `kill`."""

    def __init__(self) -> None:
        self.searched: list[int] = []  # records per search
        self.is_closed = False

    def guilty(self, records: Records, keep_alive: Callable[[], None]) -> Sequence[Quarantine]:
        self.searched.append(len(records))
        keep_alive()
        return [
            Quarantine(row, Code.PROCESS_DIED, "killed by SIGKILL", "echo")
            for row, value in enumerate(records.values)
            if (value or b"").startswith(b"kill")
        ]

    def close(self) -> None:
        self.is_closed = True
