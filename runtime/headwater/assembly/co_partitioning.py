"""Which topics of a product make tasks together."""

from collections.abc import Sequence

from headwater.assembly.project import LoadedProduct
from headwater.assembly.state import changelogs
from headwater.engine import require_equal_counts
from headwater.ports import Topics


def co_partitioned(loaded: LoadedProduct) -> Sequence[Sequence[str]]:
    """Each input that feeds steps with state, with the changelogs of those steps.

    And the two inputs of each join of streams.
    """
    groups: dict[str, list[str]] = {}
    for changelog, source in changelogs(loaded).items():
        groups.setdefault(source, [source]).append(changelog)
    return [*groups.values(), *([left.topic, right.topic] for left, right in loaded.joined)]


def require_co_partitioning(loaded: LoadedProduct, topics: Topics) -> None:
    """Check those topics that are there. Raises StartRefusedError (CO_PARTITIONING)."""
    groups = co_partitioned(loaded)
    require_equal_counts(
        groups, {topic: topics.partitions(topic) for group in groups for topic in group}
    )
