"""Mistakes that show only between products: cycles, and two that publish one log."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from headwater.errors import Problem
from headwater.product import DataProduct

Readers = Mapping[str, Sequence[str]]


def between(products: Sequence[DataProduct]) -> list[Problem]:
    """Every input that leads back to its own product, and every output that another one has."""
    return [*_shared_outputs(products), *_cycles(products)]


def _shared_outputs(products: Sequence[DataProduct]) -> Iterator[Problem]:
    owners: dict[str, DataProduct] = {}
    for product in products:
        for output in product.outputs:
            owner = owners.setdefault(output.topic, product)
            if owner is not product:
                text = f"{output.topic} is already published at {owner.origin}; rename one of them"
                yield Problem("OUTPUT_TWICE", text, output.origin.file, output.origin.line)


def _cycles(products: Sequence[DataProduct]) -> Iterator[Problem]:
    makers = {output.topic: product.name for product in products for output in product.outputs}
    reads = {
        product.name: [makers[s.topic] for s in product.reads if s.topic in makers]
        for product in products
    }
    for product in products:
        for stream in product.reads:
            path = _path(makers.get(stream.topic), product.name, reads)
            if path:
                text = f"cyclic inputs: {' reads '.join([product.name, *path])}; break the circle"
                yield Problem("CYCLIC_INPUTS", text, stream.origin.file, stream.origin.line)


def _path(start: str | None, goal: str, reads: Readers) -> list[str]:
    """The products from `start` to `goal` along what they read; empty when there is no way."""
    waiting = deque([[start]] if start is not None else [])
    seen = {start}
    while waiting:
        path = waiting.popleft()
        if path[-1] == goal:
            return path
        for name in reads.get(path[-1], ()):
            if name not in seen:
                seen.add(name)
                waiting.append([*path, name])
    return []
