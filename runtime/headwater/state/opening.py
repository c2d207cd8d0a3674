"""Opening a local store, and whether it may be gone on with."""

from headwater.contract import StateRows
from headwater.errors import RebuildError
from headwater.ports import LocalStore, LocalStores, Mark


def opened(
    stores: LocalStores, task: int, rows: StateRows, changelog_id: str
) -> tuple[LocalStore, Mark] | None:
    """The store of a task and its mark; None when it is damaged, or nothing vouches for it.

    Raises StateInUseError while another process holds it, StartRefusedError for rows of a later
    release (STATE_FORMAT) or of another declaration (STATE_COLUMNS), RetriableError when the disk
    refuses: it is closed then.
    """
    try:
        local = stores.open(task)
    except RebuildError:
        return None
    is_taken = False
    try:
        mark = local.mark()
        if mark is None or mark.changelog_id != changelog_id:
            return None
        # one row tells for all: nothing was ever stored beside what is refused here
        rows.decode(local.scan(b"", 1)[1])
        is_taken = True
    except RebuildError:
        return None
    finally:
        if not is_taken:
            local.close()
    return local, mark
