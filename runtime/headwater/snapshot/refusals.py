"""What is said of a table that is not ours, cannot be reached or cannot be read: any format."""

from headwater.errors import DamagedError, RetriableError, StartRefusedError


def place_of(location: str) -> str:
    """A location of tables in a sentence."""
    return f"prefix {location}" if "://" in location else f"directory {location}"


def not_ours(location: str, topic: str, reason: str) -> StartRefusedError:
    """The error for a place that holds something else."""
    return StartRefusedError(
        f"The {place_of(location)} is no snapshot of {topic}: {reason}; nothing was"
        f" changed. Choose another one with --to.",
        code="NOT_OUR_TABLE",
    )


def another_table(location: str, topic: str, found: str | None) -> StartRefusedError:
    """The error for a table of another topic, or of nobody we know (None)."""
    reason = "it is another table" if found is None else f"it is a table of {found}"
    return not_ours(location, topic, reason)


def elsewhere(location: str, topic: str, found: str) -> StartRefusedError:
    """The error for a table that a shared catalogue knows in another place."""
    return StartRefusedError(
        f"The Iceberg catalogue has the snapshot of {topic} in {found}, not in {location}; nothing"
        f" was changed. Take that place with --to or the setting snapshots; or drop the table"
        f" from the catalogue first, if a new one is to begin.",
        code="NOT_OUR_TABLE",
    )


def storage_refuses(location: str, doing: str, why: str) -> RetriableError:
    """The error of a storage that does not let us read or write."""
    return RetriableError(
        f"Could not {doing} the snapshot in {location}: {why};"
        f" what was committed before is whole. Mend that and run the command again.",
        code="SNAPSHOT_STORAGE",
    )


def damaged(location: str, why: str) -> DamagedError:
    """The error for a table that cannot be read again."""
    return DamagedError(
        f"The snapshot in {location} is damaged: {why}; nothing was written. Restore it"
        f" from a copy, or begin a new snapshot with --to."
    )


def gone(location: str, version: int) -> DamagedError:
    """The error for a version that upkeep took away, or that never was."""
    return DamagedError(
        f"The snapshot in {location} does not keep its version {version} any more.",
        code="FILE_GONE",
    )


def damaged_record(location: str, version: int, reason: str) -> DamagedError:
    """The error for a commit whose record cannot be read."""
    return damaged(location, f"the record of version {version}: {reason}")
