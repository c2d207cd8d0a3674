"""What a verification found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from headwater.ports import CommitRecord

Kind = Literal[
    "missing", "extra", "changed", "unreadable", "recorded", "gap", "unaccounted", "damaged"
]
Outcome = Literal["equal", "different", "not kept", "unverifiable"]

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
    """The outcome with its reasons. A difference outweighs what cannot be decided.

    `version` and `commit_id` are those of the newest commit it is about, None where none can be
    read; `commits` are that one and those before it. `rows` were recorded; of so many, `unchecked`,
    the log does not hold any more what they are to be compared with. Not `is_kept`: files of an
    older version are gone, as upkeep takes them.
    """

    version: int | None
    commit_id: str | None
    commits: int
    rows: int
    unchecked: int
    sampled: int
    differences: Sequence[Difference]
    difference_count: int
    undecided: Sequence[str]
    is_kept: bool = True

    @property
    def outcome(self) -> Outcome:
        """Equal only when everything was compared and nothing differs."""
        if self.difference_count:
            return "different"
        if not self.is_kept:
            return "not kept"
        return "unverifiable" if self.undecided else "equal"


class Findings:
    """Collects what is found on the way to a verdict."""

    def __init__(self) -> None:
        self.count = 0
        self.sampled = 0
        self.unchecked = 0
        self._is_kept = True
        self._shown: list[Difference] = []
        self._undecided: dict[str, None] = {}  # in order, each once

    def differs(self, difference: Difference) -> None:
        """Count a difference, and keep it while there are few."""
        self.count += 1
        if len(self._shown) < SHOWN:
            self._shown.append(difference)

    def undecided(self, reason: str, rows: int = 0) -> None:
        """Something cannot be compared, so many rows of it."""
        self._undecided[reason] = None
        self.unchecked += rows

    def not_kept(self, reason: str) -> None:
        """An older version is not whole any more, and nothing says that it should be."""
        self.undecided(reason)
        self._is_kept = False

    def verdict(
        self, newest: tuple[int, CommitRecord] | None = None, *, commits: int, rows: int
    ) -> Verdict:
        """What it amounts to, about a commit with its table version."""
        return Verdict(
            version=None if newest is None else newest[0],
            commit_id=None if newest is None else newest[1].commit_id,
            unchecked=self.unchecked,
            commits=commits,
            rows=rows,
            sampled=self.sampled,
            differences=tuple(self._shown),
            difference_count=self.count,
            undecided=tuple(self._undecided),
            is_kept=self._is_kept,
        )
