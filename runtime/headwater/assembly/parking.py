"""What a product with `DeadLetters(keep_order=True)` needs beside: stores, changelogs, tasks."""

from collections.abc import Callable, Mapping
from functools import partial

from headwater.assembly.project import LoadedProduct
from headwater.engine import ParkingTask, StepStore, Stores, Task, changelog_of, parked_rows
from headwater.ports import LocalStores, Monitor
from headwater.state import KeyedStore, StoreSettings

ChangelogId = Callable[[str], str]
"""The broker's id of a changelog topic."""

LocalStoresOf = Callable[[str, str], LocalStores]
"""The local stores of a step, by output topic and step name."""


def parked_changelogs(loaded: LoadedProduct) -> dict[str, str]:
    """The topics that hold what is parked, each with its input: `<product>.dead-letters.<input>`.

    None where the product keeps no order.
    """
    if not loaded.product.dead_letters.keep_order:
        return {}
    return {changelog_of(_beside(loaded), topic): topic for topic in loaded.streams()}


def parked_stores(
    loaded: LoadedProduct, local: LocalStoresOf, changelog_id: ChangelogId
) -> list[StepStore]:
    """A store per input, of which keys are parked; its tasks are the input's partitions."""
    return [
        StepStore(
            _beside(loaded),
            topic,
            topic,
            KeyedStore(
                parked_rows(),
                local(_beside(loaded), topic),
                StoreSettings(changelog_id(changelog)),
            ),
        )
        for changelog, topic in parked_changelogs(loaded).items()
    ]


def in_order(
    loaded: LoadedProduct, tasks: Mapping[str, Task], stores: Stores, monitor: Monitor
) -> dict[str, Task]:
    """The tasks of a product, parking records where it keeps the order of its letters."""
    parked = {each.step: each.store for each in stores.of(_beside(loaded), tasks)}
    return {
        topic: ParkingTask(task, parked[topic], partial(monitor.parked, topic))
        if topic in parked
        else task
        for topic, task in tasks.items()
    }


def _beside(loaded: LoadedProduct) -> str:
    """The topic that the stores belong to: no output can have its name."""
    return f"{loaded.name}.dead-letters"
