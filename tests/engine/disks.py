"""Disks that outlive the processes of their instances."""

from collections.abc import Callable

from tests.engine.conftest import Process

from headwater.adapters.memory import MemoryStores
from headwater.ports import LocalStores


def in_memory(_: str) -> LocalStores:
    """An empty disk."""
    return MemoryStores()


class Disks(dict[str, LocalStores]):
    """The disk of each instance; `new` makes one that is empty.

    One that still runs when another takes its name keeps its own.
    """

    def __init__(self, new: Callable[[str], LocalStores] = in_memory) -> None:
        super().__init__()
        self._new = new
        self._last: dict[str, Process] = {}

    def of(self, process: Process) -> LocalStores:
        """What a process finds that begins: the disk of the one before it, if that is gone."""
        name = process.instance
        self[name] = self.left_by(name) or self._new(name)
        self._last[name] = process
        return self[name]

    def left_by(self, name: str) -> LocalStores | None:
        """The disk of an instance that is gone; None if there was none, or it still runs."""
        last = self._last.get(name)
        if last is None or last.is_running:
            return None
        power_off(last)
        return self[name]


def power_off(process: Process) -> None:
    """Whatever the process still had open of its disk is closed, as the kernel does."""
    for each in process.stores.held:
        for state in each.store._tasks.values():
            state.local.close()
        for writer in each.store._checkpoints.values():
            if writer.is_open:
                writer._writer.close()  # else its end would write to a closed file
                writer._file.close()
