"""The stores of a product's steps, in whatever keeps their entries."""

from collections.abc import Callable

from headwater.adapters.memory import MemoryStores
from headwater.assembly.project import LoadedProduct
from headwater.engine import StepStore, Stores, changelog_of
from headwater.ports import LocalStores
from headwater.state import KeyedStore, StoreSettings

ChangelogId = Callable[[str], str]
"""The broker's id of a changelog topic."""

LocalStoresOf = Callable[[str, str], LocalStores]
"""The local stores of a step, by output topic and step name."""


def changelogs(loaded: LoadedProduct) -> dict[str, str]:
    """The changelog topics of a product, each with the input whose partitions are its tasks."""
    return {
        changelog_of(output.topic, stage.step.name): output.flow.stream.topic
        for output in loaded.product.outputs
        for stage in loaded.plans[output.topic].stateful
    }


def stores_of(loaded: LoadedProduct, local: LocalStoresOf, changelog_id: ChangelogId) -> Stores:
    """The stores of all steps with state; `changelog_id` gives the id of a changelog topic."""
    held = []
    for output in loaded.product.outputs:
        for stage in loaded.plans[output.topic].stateful:
            step = stage.step.name
            settings = StoreSettings(changelog_id(changelog_of(output.topic, step)))
            store = KeyedStore(stage.rows, local(output.topic, step), settings)
            held.append(StepStore(output.topic, step, output.flow.stream.topic, store))
    return Stores(held)


def stores_in_memory(loaded: LoadedProduct) -> Stores:
    """Stores of one task, 0, for a run that stands alone."""
    stores = stores_of(loaded, lambda _output, _step: MemoryStores(), str)
    for each in stores.held:
        each.store.assign(0)
    return stores
