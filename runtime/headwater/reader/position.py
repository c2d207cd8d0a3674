"""How far a product was read, as a text that can be stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from headwater.errors import ReadRefusedError


@dataclass(frozen=True, slots=True)
class FilesRead:
    """How far the rows of a table's version were read: whole files, then rows of the next one.

    `commit_id` is that of the cut whose rows they are.
    """

    version: int
    commit_id: str
    files: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """A place between two frames of a topic: what was before it is not read again.

    `offsets` are the next ones of the log, by partition, of the topic's incarnation `topic_id`;
    `snapshot` says that rows of a snapshot come first, and which.
    `is_upsert`: a newer record of a key replaces the older, or deletes it, and frames tell which.
    `as_of_ms` is a time, in milliseconds since the epoch, at which nothing behind this place was
    published yet; None where no deletion behind it needs to be seen.
    """

    topic: str
    topic_id: str
    offsets: Mapping[int, int]
    snapshot: FilesRead | None = None
    is_upsert: bool = False
    as_of_ms: int | None = None

    def to_text(self) -> str:
        """One line of JSON that `from_text` reads, in this release and in later ones."""
        return _POSITION.dump_json(self).decode()

    @staticmethod
    def from_text(text: str) -> "ReadPosition":
        """The position that a text tells. Raises ReadRefusedError (BAD_TOKEN)."""
        try:
            return _POSITION.validate_json(text)
        except ValidationError as error:
            raise ReadRefusedError(
                "This is no token of a reader; give one as `.token` told it, whole, or begin with"
                ' "snapshot", "beginning" or "end".',
                code="BAD_TOKEN",
            ) from error


_POSITION: Final = TypeAdapter(ReadPosition)
