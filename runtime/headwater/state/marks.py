"""A mark as text, the same in every kind of store and in checkpoints."""

import json
from typing import Final

from headwater.errors import RebuildError, StartRefusedError
from headwater.ports import Mark

FORMAT: Final = 1
"""How stores and checkpoints are laid out: keys and values as in the changelog, and a mark."""


def mark_text(mark: Mark) -> str:
    """The mark, and the format of what it stands beside."""
    return json.dumps(
        {
            "format": FORMAT,
            "changelog_id": mark.changelog_id,
            "changelog_offset": mark.changelog_offset,
            "written_ms": mark.written_ms,
        }
    )


def read_mark(text: str | bytes) -> Mark:
    """The inverse. Raises RebuildError, StartRefusedError (STATE_FORMAT) for a later format."""
    try:
        found = json.loads(text)
        if (later := found["format"]) > FORMAT:
            raise StartRefusedError(
                f"The state was stored by a later release (format {later}, this one reads "
                f"{FORMAT}); run that release, or delete it and the checkpoints (docs/state.md).",
                code="STATE_FORMAT",
            )
        mark = Mark(found["changelog_id"], found["changelog_offset"], found["written_ms"])
    except (ValueError, KeyError, TypeError) as error:
        raise RebuildError("The mark of a store cannot be read.") from error
    return mark
