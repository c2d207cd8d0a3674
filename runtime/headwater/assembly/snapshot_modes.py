"""What the declared policy of a product's snapshots asks for."""

from collections.abc import Iterator, Mapping

from headwater.contract import Contract
from headwater.errors import DeclarationError, Problem
from headwater.product import DataProduct


def declared_interval_s(product: DataProduct, path: str) -> float:
    """How often the product declares a snapshot, in seconds; `path` is the file that declares it.

    Raises DeclarationError (NO_SNAPSHOT_POLICY) when it declares none.
    """
    if product.snapshot is None:
        text = (
            f"{product.name} declares no snapshots; write"
            f" DataProduct(..., snapshot=Snapshot(every='15m')), or say how often:"
            f" `headwater snapshot {product.name} --every 15m`"
        )
        raise DeclarationError([Problem("NO_SNAPSHOT_POLICY", text, path)])
    return product.snapshot.every_s


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
