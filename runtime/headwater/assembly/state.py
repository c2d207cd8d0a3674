"""The stores of a product's steps, in whatever keeps their entries."""

from collections.abc import Iterator

from headwater.adapters.memory import MemoryStores
from headwater.assembly.parking import (
    ChangelogId,
    LocalStoresOf,
    parked_changelogs,
    parked_stores,
)
from headwater.assembly.project import LoadedProduct
from headwater.engine import StepStore, Stores, changelog_of
from headwater.flow import Section
from headwater.state import KeyedStore, StoreSettings, TimeToLive


def changelogs(loaded: LoadedProduct) -> dict[str, str]:
    """The changelog topics of a product, each with the topic whose partitions are its tasks."""
    return {
        changelog_of(section.output, stage.step.name): source
        for section, source in _sources(loaded)
        for stage in loaded.plans[section.sink].stateful
    } | parked_changelogs(loaded)


def _sources(loaded: LoadedProduct) -> Iterator[tuple[Section, str]]:
    """The sections of a product, each with the topic it reads."""
    for section in loaded.sections:
        yield section, section.source or loaded.output(section.output).flow.stream.topic


def stores_of(loaded: LoadedProduct, local: LocalStoresOf, changelog_id: ChangelogId) -> Stores:
    """The stores of all steps with state; `changelog_id` gives the id of a changelog topic."""
    held = []
    for section, source in _sources(loaded):
        for stage in loaded.plans[section.sink].stateful:
            output, step = section.output, stage.step.name
            life = stage.time_to_live
            settings = StoreSettings(
                changelog_id(changelog_of(output, step)),
                time_to_live=None if life is None else TimeToLive(life.column, life.duration),
            )
            store = KeyedStore(stage.rows, local(output, step), settings)
            held.append(StepStore(output, step, source, store))
    return Stores([*held, *parked_stores(loaded, local, changelog_id)])


def stores_in_memory(loaded: LoadedProduct) -> Stores:
    """Stores of one task, 0, for a run that stands alone."""
    stores = stores_of(loaded, lambda _output, _step: MemoryStores(), str)
    for each in stores.held:
        each.store.assign(0)
    return stores
