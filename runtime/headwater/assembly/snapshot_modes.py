"""What the declared policy of a product's snapshots asks for."""

from collections.abc import Iterator, Mapping

from headwater.contract import Contract
from headwater.errors import DeclarationError, Problem
from headwater.product import DataProduct
from headwater.snapshot.division import division_mistake


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


def mode_mistakes(
    product: DataProduct, outputs: Mapping[str, Contract], inputs: Mapping[str, Contract]
) -> Iterator[Problem]:
    """What a declared mode cannot do with the contracts, told once for each output or input."""
    if product.snapshot is None:
        return
    if product.snapshot.mode == "daily":
        yield from _without_event_time(product, inputs)
    by = product.snapshot.divided_by
    for output in product.outputs:
        if output.topic not in outputs:  # which is told
            continue
        contract = outputs[output.topic]
        if by is not None and (why := division_mistake(by, contract)) is not None:
            text = (
                f"{output.topic}: snapshots cannot be divided by {by!r}, because {why}; name"
                f" another column of contract {output.contract}, or leave `by` out"
            )
            yield Problem("SNAPSHOT_DIVISION", text, output.origin.file, output.origin.line)
        # The latest row of each key is that of no key where the contract has none.
        if product.snapshot.mode == "latest" and not contract.key:
            text = (
                f"{output.topic}: snapshots of mode 'latest' hold a row for each key, and contract"
                f" {output.contract} has none; give it a \"key\", or declare mode='append'"
            )
            yield Problem("SNAPSHOT_WITHOUT_KEY", text, output.origin.file, output.origin.line)


def _without_event_time(product: DataProduct, inputs: Mapping[str, Contract]) -> Iterator[Problem]:
    """A day is over by the event time of the inputs; an input without one never ends a day."""
    for stream in product.inputs:
        contract = inputs.get(stream.contract_name)
        if contract is not None and contract.event_time is None:
            text = (
                f"{stream.topic}: snapshots of mode 'daily' close a day by the event time of the"
                f" inputs, and contract {stream.contract} of {stream.contract_name} has no"
                f" \"eventTime\"; ask its owner for one, or declare mode='append', by='_date'"
            )
            yield Problem("SNAPSHOT_WITHOUT_DAYS", text, stream.origin.file, stream.origin.line)
