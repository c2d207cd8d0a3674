"""A product of the broker in memory, as a consumer opens it."""

from collections.abc import Callable

from tests.snapshot.processes import Kept

from headwater.adapters.memory import MemoryFollower, MemoryRangeReader, MemoryTopics
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.clock import SYSTEM, Clock
from headwater.contract import Contract
from headwater.model import SchemaRef
from headwater.reader.product import Product, Sources


class KnownSchemas(MemoryRegistry):
    """Those that a function knows, under the ids that the records are written with."""

    def __init__(self, text_of: Callable[[SchemaRef], str]) -> None:
        super().__init__()
        self._text_of = text_of

    def schema(self, reference: SchemaRef) -> str:
        """The Avro JSON text of an id."""
        return self._text_of(reference)


def opened(
    kept: Kept, contract: Callable[[], Contract], registry: MemoryRegistry, clock: Clock = SYSTEM
) -> Product:
    """The product of a topic and its table; its contract is asked for when it is needed."""
    return Product(
        contract,
        Sources(
            topics=MemoryTopics(kept.broker),
            registry=registry,
            open_table=kept.table,
            open_range_reader=lambda: MemoryRangeReader(kept.broker),
            open_follower=lambda: MemoryFollower(kept.broker),
            clock=clock,
        ),
    )
