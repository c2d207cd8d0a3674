"""Which identities two tables have in common, estimated from the sketches of their keys."""

from dataclasses import dataclass

from headwater.errors import UnverifiableError
from headwater.snapshot.sketches import Distinct, Estimate
from headwater.snapshot.statistics import TableStatistics


@dataclass(frozen=True, slots=True)
class Overlap:
    """Distinct keys of each side and of both; bounds hold in 997 of 1,000 cases.

    `jaccard` is the part of all keys that both have, whose bounds hold in 95 of 100; `of_one` and
    `of_other` are the parts of each side's, 0 to 1.
    """

    one: Estimate
    other: Estimate
    common: Estimate
    jaccard: Estimate
    of_one: Estimate
    of_other: Estimate


def overlap(one: TableStatistics, other: TableStatistics) -> Overlap:
    """The overlap of the keys of two tables.

    Raises UnverifiableError (NO_IDENTITIES) when a table has no sketch of its key, and
    (OTHER_KEYS) when one key is a single field and the other is several.
    """
    mine, theirs = _identities(one), _identities(other)
    if len(one.key) != len(other.key):
        raise UnverifiableError(
            f"The key of {one.topic} is {', '.join(one.key)}, that of {other.topic} is"
            f" {', '.join(other.key)}: keys of other numbers of fields have nothing in common.",
            code="OTHER_KEYS",
        )
    first, second, common = mine.estimate(), theirs.estimate(), mine.common(theirs)
    return Overlap(
        one=first,
        other=second,
        common=common,
        jaccard=mine.jaccard(theirs),
        of_one=_part(common, first),
        of_other=_part(common, second),
    )


def _identities(table: TableStatistics) -> Distinct:
    if table.identities is None:
        raise UnverifiableError(
            f"The statistics of {table.topic} hold no identities: its contract names no key, a"
            f" field of the key is secret, or the key was changed.",
            code="NO_IDENTITIES",
        )
    return table.identities


def _part(common: Estimate, whole: Estimate) -> Estimate:
    """Both bounds at their worst at once: wider than need be, never too narrow."""
    if not whole.value:
        return Estimate(0.0, 0.0, 0.0)
    low, high = common.low / whole.high, min(common.high / whole.low, 1.0)
    return Estimate(min(common.value / whole.value, 1.0), low, high)
