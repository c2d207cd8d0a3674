"""What a verification found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal[
    "missing", "extra", "changed", "unreadable", "recorded", "gap", "unaccounted", "damaged"
]
Outcome = Literal["equal", "different", "unverifiable"]

SHOWN: Final = 20  # differences told one by one; the rest are counted

_SENTENCES: Final[dict[Kind, str]] = {
    "missing": "in the log, not in the snapshot",
    "extra": "in the snapshot, not in the log",
    "changed": "differs between log and snapshot",
    "unreadable": "in the log, but no row of the contract",
    "recorded": "not what the commit recorded",
    "gap": "the commits do not follow each other",
    "unaccounted": "in the snapshot, in no commit's range",
    "damaged": "cannot be read",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where log, table and record disagree; without a place it is all of it."""

    kind: Kind
    partition: int | None
    offset: int | None
    detail: str = ""

    def __str__(self) -> str:
        place = "" if self.partition is None else f"[{self.partition}]"
        offset = "" if self.offset is None else f"@{self.offset}"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{place}{offset} {self.kind}: {_SENTENCES[self.kind]}{detail}"


def kind_of(in_log: int, in_table: int) -> Kind:
    """What a place is called at which so many rows stand, and they differ."""
    if in_table < in_log:
        return "missing"
    return "extra" if in_table > in_log else "changed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome with its reasons. A difference outweighs what cannot be decided."""

    commits: int
    rows: int
    sampled: int
    differences: Sequence[Difference]
    difference_count: int
    undecided: Sequence[str]

    @property
    def outcome(self) -> Outcome:
        """Equal only when everything was compared and nothing differs."""
        if self.difference_count:
            return "different"
        return "unverifiable" if self.undecided else "equal"


class Findings:
    """Collects what is found on the way to a verdict."""

    def __init__(self) -> None:
        self.count = 0
        self.sampled = 0
        self._shown: list[Difference] = []
        self._undecided: dict[str, None] = {}  # in order, each once

    def differs(self, difference: Difference) -> None:
        """Count a difference, and keep it while there are few."""
        self.count += 1
        if len(self._shown) < SHOWN:
            self._shown.append(difference)

    def undecided(self, reason: str) -> None:
        """Something cannot be compared."""
        self._undecided[reason] = None

    def verdict(self, *, commits: int, rows: int) -> Verdict:
        """What it amounts to."""
        return Verdict(
            commits=commits,
            rows=rows,
            sampled=self.sampled,
            differences=tuple(self._shown),
            difference_count=self.count,
            undecided=tuple(self._undecided),
        )
