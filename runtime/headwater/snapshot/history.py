"""Which commit of a table somebody means: by table version, by commit id, or by time."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from headwater.errors import ConfigurationError, Problem, UnverifiableError
from headwater.ports import CommitRecord, Table, UnreadableRecord

MS: Final = 1_000  # in a second
_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f-]*)?")

Commit = tuple[int, CommitRecord]
"""A commit with its table version."""


def commit_at(table: Table, at: str | None = None) -> Commit:
    """The newest commit that is not behind `at`; the newest of all without.

    `at` is a table version, the beginning of a commit id (eight digits at least), or a time in
    ISO 8601, UTC where it names no zone. Raises ConfigurationError (BAD_CUT) for anything else,
    UnverifiableError when there is no such commit: NO_SNAPSHOT, NO_CUT.
    """
    is_meant = None if at is None else _test(at)
    readable = [
        (version, record)
        for version, record in table.commits()
        if not isinstance(record, UnreadableRecord)
    ]
    if not readable:
        raise UnverifiableError(
            f"There is no snapshot in {table.location}; take one with `headwater snapshot`.",
            code="NO_SNAPSHOT",
        )
    if found := [each for each in readable if is_meant is None or is_meant(each)]:
        return found[-1]
    raise UnverifiableError(
        f"The snapshot in {table.location} has no commit {at}: its first is version"
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
