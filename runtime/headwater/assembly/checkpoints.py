"""Where the settings keep checkpoints becomes the storage that the engine writes them to."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from headwater.adapters.directory import DirectoryStorage
from headwater.clock import SYSTEM
from headwater.config import Settings
from headwater.engine import Checkpoints, Stores
from headwater.ports import CheckpointStorage

THREADS: Final = 2  # one may hang on what nobody waits for any more
WORKSPACE: Final = ".checkpoints"  # beside the state, that has a disk with room


def checkpoints_of(stores: Stores, settings: Settings) -> Checkpoints | None:
    """At `<checkpoints>/<output>/<step>/<id of changelog>/<task>/`; None without state.

    Raises StartRefusedError (CHECKPOINT_STORE) when an object store says no for good.
    """
    if not stores.held:
        return None
    return Checkpoints(
        stores,
        _storage(settings),
        ThreadPoolExecutor(THREADS, thread_name_prefix="checkpoints"),
        SYSTEM,
        every_s=settings.checkpoint_every.total_seconds(),
    )


def _storage(settings: Settings) -> CheckpointStorage:
    if "://" not in settings.checkpoints:
        return DirectoryStorage(Path(settings.checkpoints))
    # it takes time and memory that a directory does not need
    from headwater.adapters.objects import ObjectStorage  # noqa: PLC0415  # see above

    storage = ObjectStorage(settings.checkpoints, settings.state_dir / WORKSPACE)
    storage.require()
    return storage
