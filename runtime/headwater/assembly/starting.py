"""Where a product begins, as it is declared."""

from dataclasses import replace

from headwater.assembly.parking import parked_changelogs
from headwater.assembly.project import LoadedProduct
from headwater.assembly.state import changelog_sources
from headwater.engine import Start, StartPolicy
from headwater.product import Stream
from headwater.reader.backfill import Backfill


def start_policy(loaded: LoadedProduct, explicit: Start | Backfill | None = None) -> StartPolicy:
    """The start of each input, and the product's own topics; `explicit` is an operator's word.

    A backfilled input begins where its table does, whatever start is declared.
    """
    if isinstance(explicit, Backfill):
        policy = start_policy(loaded)
        inputs: dict[str, Start] = {**policy.inputs, explicit.topic: "earliest"}
        return replace(policy, inputs=inputs, backfilled=explicit.starts)
    product = loaded.product
    return StartPolicy(
        group=product.name,
        inputs={stream.topic: _start(stream) for stream in product.inputs},
        outputs=[output.topic for output in product.outputs],
        explicit=explicit,
        changelogs=changelog_sources(loaded),
        repartitions=list(loaded.repartitions),
        parked=list(parked_changelogs(loaded)),
    )


def _start(stream: Stream) -> Start:
    if stream.start_ms is not None:
        return stream.start_ms
    return "latest" if stream.start == "latest" else "earliest"
