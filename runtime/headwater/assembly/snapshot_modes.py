"""What the declared mode of a product's snapshots asks of the contracts of its outputs."""

from collections.abc import Iterator, Mapping

from headwater.contract import Contract
from headwater.errors import Problem
from headwater.product import DataProduct


def mode_mistakes(product: DataProduct, outputs: Mapping[str, Contract]) -> Iterator[Problem]:
    """The latest row of each key is that of no key where the contract has none."""
    if product.snapshot is None or product.snapshot.mode != "latest":
        return
    for output in product.outputs:
        if output.topic in outputs and not outputs[output.topic].key:
            text = (
                f"{output.topic}: snapshots of mode 'latest' hold a row for each key, and contract"
                f" {output.contract} has none; give it a \"key\", or declare mode='append'"
            )
            yield Problem("SNAPSHOT_WITHOUT_KEY", text, output.origin.file, output.origin.line)
