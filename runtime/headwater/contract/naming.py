"""Which schema each record of a batch names: the records of one are decoded together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from headwater.contract.framing import FRAME_BYTES, Key, frame_fault, framed_id
from headwater.model import Quarantine


def common_key(values: Sequence[bytes | None], headers: Mapping[int, bytes]) -> Key | None:
    """What the records are tried with all at once: the first's schema; None when that is unsafe.

    A frame is compared with the schema's id whatever is read. A body without a frame could be read
    under another schema than its own: then every header must be the same.
    """
    if not values:
        return None
    if not headers:
        return framed_id(values[0])
    distinct = set(headers.values()) if len(headers) == len(values) else ()
    return next(iter(distinct)) if len(distinct) == 1 and all(values) else None


def rows_by_key(
    values: Sequence[bytes | None],
    headers: Mapping[int, bytes],
    quarantined: list[Quarantine],
    rows: Sequence[int] | None = None,
) -> dict[Key, list[int]]:
    """The rows of each schema; those with a bad frame join `quarantined`. None: of all rows."""
    groups: defaultdict[Key, list[int]] = defaultdict(list)
    starts: defaultdict[bytes | None, list[int]] = defaultdict(list)
    for row in range(len(values)) if rows is None else rows:
        value = values[row]
        if value and row in headers:
            groups[headers[row]].append(row)
        else:  # a frame is looked into once for all that begin alike
            starts[value and value[:FRAME_BYTES]].append(row)
    for start, found in starts.items():
        if (key := framed_id(start)) is not None:
            groups[key] = found
        else:
            quarantined += [Quarantine(row, *frame_fault(start)) for row in found]
    return groups
