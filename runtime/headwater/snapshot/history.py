"""Which commit of a table somebody means: by table version, by commit id, or by time.

And what the table keeps of it: its files, as readers of that cut see them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from headwater.errors import ConfigurationError, DamagedError, Problem, UnverifiableError
from headwater.ports import CommitRecord, Table, TableFile, UnreadableRecord

MS: Final = 1_000  # in a second
_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f-]*)?")

Commit = tuple[int, CommitRecord]
"""A commit with its table version."""

Commits = Sequence[tuple[int, CommitRecord | UnreadableRecord]]
"""All that a table tells, oldest first."""


def commit_at(table: Table, at: str | None = None) -> Commit:
    """The newest commit that is not behind `at`; the newest of all without.

    `at` is a table version, the beginning of a commit id (eight digits at least), or a time in
    ISO 8601, UTC where it names no zone. Raises ConfigurationError (BAD_CUT) for anything else,
    UnverifiableError when there is no such commit: NO_SNAPSHOT, NO_CUT.
    """
    return _commit_at(table.commits(), at, table.location)


def _commit_at(commits: Commits, at: str | None, location: str) -> Commit:
    is_meant = None if at is None else _test(at)
    readable = [
        (version, record) for version, record in commits if not isinstance(record, UnreadableRecord)
    ]
    if not readable:
        raise UnverifiableError(
            f"There is no snapshot in {location}; take one with `headwater snapshot`.",
            code="NO_SNAPSHOT",
        )
    if found := [each for each in readable if is_meant is None or is_meant(each)]:
        return found[-1]
    raise UnverifiableError(
        f"The snapshot in {location} has no commit {at}: its first is version"
        f" {readable[0][0]}, its last version {readable[-1][0]}.",
        code="NO_CUT",
    )


def _test(at: str) -> Callable[[Commit], bool]:
    """Whether a commit is at or before what is meant; exactly it for an id."""
    if at.isascii() and at.isdigit():
        return lambda each: each[0] <= int(at)
    if _ID.fullmatch(at):
        return lambda each: each[1].commit_id.startswith(at)
    try:
        when = datetime.fromisoformat(at)
    except ValueError as error:
        message = f"{at} is no table version, commit id (eight digits or more) or ISO 8601 time."
        raise ConfigurationError([Problem("BAD_CUT", message)]) from error
    until_ms = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * MS
    return lambda each: each[1].committed_at_ms <= until_ms


@dataclass(frozen=True, slots=True)
class Kept:
    """A cut as a table keeps it: the commits up to it, oldest first, and its files.

    `gone` is why there are none where the table does not keep them any more.
    """

    commits: Commits
    files: Sequence[TableFile]
    gone: str = ""

    @property
    def records(self) -> list[CommitRecord]:
        """Those that can be read."""
        return [each for _, each in self.commits if isinstance(each, CommitRecord)]

    @property
    def newest(self) -> Commit | None:
        """The newest commit that can be read."""
        for version, record in reversed(self.commits):
            if isinstance(record, CommitRecord):
                return version, record
        return None


def newest_cut(table: Table) -> Kept:
    """The newest version, whoever made it. Raises DamagedError."""
    return Kept(table.commits(), table.files())


def cut_at(table: Table, at: str) -> Kept:
    """The cut that `commit_at` finds. Raises as that does, and DamagedError."""
    commits = table.commits()
    version, _ = _commit_at(commits, at, table.location)
    place = next(n for n, (each, _) in enumerate(commits) if each == version)
    return _kept(table, commits, place)


def every_cut(table: Table) -> list[Kept]:
    """Every cut whose record can be read, oldest first. Raises DamagedError."""
    commits = table.commits()
    return [
        _kept(table, commits, place)
        for place, (_, record) in enumerate(commits)
        if isinstance(record, CommitRecord)
    ]


def _kept(table: Table, commits: Commits, place: int) -> Kept:
    """Upkeep may have put the same rows into other files before the next cut: those count."""
    until = commits[: place + 1]
    if place + 1 == len(commits):
        return Kept(until, table.files())
    reason = ""
    for version in (commits[place + 1][0] - 1, commits[place][0]):  # the cut itself may be pinned
        try:
            return Kept(until, table.files(version))
        except DamagedError as error:
            if error.code != "FILE_GONE":
                raise
            reason = str(error)
    return Kept(until, (), gone=reason)
