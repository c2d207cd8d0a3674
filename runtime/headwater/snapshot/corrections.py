"""What commits of mode "daily" say of the rows that came late, beside the rows they took."""

from collections import Counter
from collections.abc import Iterator, Sequence

from headwater.ports import CommitRecord, UnreadableRecord
from headwater.snapshot.inventory import Held
from headwater.snapshot.spans import booked, is_recorded
from headwater.snapshot.verdict import Difference


def wrong_corrections(
    commits: Sequence[tuple[int, CommitRecord | UnreadableRecord]], held: Sequence[Held]
) -> Iterator[Difference]:
    """Tell where a commit lists other rows of closed days than it took.

    `commits` are those of a table up to a cut, with their versions, oldest first; `held` is what
    the table holds of their ranges. Of a range whose rows are not those that were recorded, which
    is told elsewhere, nothing is said; of no commit where one is unreadable, which may have closed
    a day.
    """
    rest = iter(held)
    for version, record in commits:
        if isinstance(record, UnreadableRecord):
            return
        found: Counter[str] = Counter()
        is_sound = record.days is not None
        for each in booked([record]):
            part = next(rest)
            found.update(part.late)
            is_empty = each.taken.start >= each.taken.end
            is_sound = is_sound and (is_empty or is_recorded(each, part.tally))
        said = {} if record.days is None else record.days.corrected
        for day in sorted(found.keys() | said.keys()) if is_sound else ():
            if found[day] != said.get(day, 0):
                detail = f"version {version} lists {said.get(day, 0):,} late rows of {day}"
                yield Difference("recorded", None, None, f"{detail}, and took {found[day]:,}")
