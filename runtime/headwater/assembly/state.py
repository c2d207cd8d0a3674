"""The stores of a product's steps, in whatever keeps their entries."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from headwater.adapters.memory import MemoryStores
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.assembly.parking import (
    ChangelogId,
    LocalStoresOf,
    parked_changelogs,
    parked_stores,
)
from headwater.assembly.project import LoadedProduct
from headwater.engine import StepStore, Stores, changelog_of
from headwater.flow import Section, StatefulStage
from headwater.ports import LocalStores, Topics
from headwater.product import Dedupe, Latest
from headwater.state import KeyedStore, StoreSettings, TimeToLive

ALONE: Final[Mapping[str, int]] = {}
STATE_BYTES: Final = 64 << 20  # of RocksDB, all stores of the process: buffers and blocks


def changelogs(loaded: LoadedProduct) -> dict[str, str]:
    """The changelog topics of a product, each with the topic whose partitions are its tasks."""
    return {
        changelog_of(section.output, stage.step.name): section.topic
        for section, stage in _stateful(loaded)
    } | parked_changelogs(loaded)


def changelog_sources(loaded: LoadedProduct) -> dict[str, list[str]]:
    """The changelog topics of a product, each with all topics whose records change what it holds.

    First the one of `changelogs`; of a join of streams, both.
    """
    found = {changelog: [source] for changelog, source in changelogs(loaded).items()}
    for section in loaded.sections:
        for stage in section.plan.stateful:
            sources = found[changelog_of(section.output, stage.step.name)]
            if section.topic not in sources:
                sources.append(section.topic)
    return found


def _stateful(loaded: LoadedProduct) -> Iterator[tuple[Section, StatefulStage]]:
    """The stages with state, each with its section; the sides of a join share that of the left."""
    taken: set[tuple[str, str]] = set()
    for section in loaded.sections:
        for stage in section.plan.stateful:
            if (name := (section.output, stage.step.name)) not in taken:
                taken.add(name)
                yield section, stage


def depends_on_others(loaded: LoadedProduct) -> bool:
    """Whether what comes of a record depends on those before it: on state, or on event time."""
    return any(each.plan.needs_watermarks or each.writes is not None for each in loaded.sections)


def remembered(loaded: LoadedProduct) -> frozenset[str]:
    """The inputs whose records are in the state of an output that they reach without a rekey.

    Though their row is refused behind the rekey of another output, they would be counted there a
    second time. What `latest` and `dedupe` keep is the same then. Before a rekey there is no other
    state.
    """
    return frozenset(
        each.stream.topic
        for each in loaded.sections
        if each.source is None and each.writes is None
        if any(not isinstance(stage.step, (Latest, Dedupe)) for stage in each.plan.stateful)
    )


def partners(loaded: LoadedProduct) -> dict[str, list[str]]:
    """The topics that each topic is joined with, stream by stream."""
    found: dict[str, list[str]] = {}
    for left, right in loaded.joined:
        found.setdefault(left.topic, []).append(right.topic)
        found.setdefault(right.topic, []).append(left.topic)
    return found


def stores_of(loaded: LoadedProduct, local: LocalStoresOf, changelog_id: ChangelogId) -> Stores:
    """The stores of all steps with state; `changelog_id` gives the id of a changelog topic."""
    held = []
    for section, stage in _stateful(loaded):
        output, step = section.output, stage.step.name
        store = store_of(stage, local(output, step), changelog_id(changelog_of(output, step)))
        held.append(StepStore(output, step, section.topic, store))
    return Stores([*held, *parked_stores(loaded, local, changelog_id)])


def store_of(stage: StatefulStage, local: LocalStores, changelog_id: str) -> KeyedStore:
    """The store of one step."""
    life = stage.time_to_live
    kept = None if life is None else TimeToLive(life.column, life.duration)
    return KeyedStore(stage.rows, local, StoreSettings(changelog_id, time_to_live=kept))


def stores_on_disk(loaded: LoadedProduct, directory: Path, topics: Topics) -> Stores:
    """At `<directory>/<output>/<step>/<task>/`."""
    memory = RocksDbMemory(STATE_BYTES)
    return stores_of(
        loaded,
        lambda output, step: RocksDbStores(directory / output / step, memory),
        topics.topic_id,
    )


def stores_in_memory(loaded: LoadedProduct, counts: Mapping[str, int] = ALONE) -> Stores:
    """Stores for a run that stands alone, of as many tasks as `counts` says of their topics.

    Of one, 0, where it says nothing.
    """
    stores = stores_of(loaded, lambda _output, _step: MemoryStores(), str)
    for each in stores.held:
        for task in range(counts.get(each.source, 1)):
            each.store.assign(task)
    return stores
