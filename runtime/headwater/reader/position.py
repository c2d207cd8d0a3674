"""How far a product was read, as a text that can be stored."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from headwater.errors import ReadRefusedError

DIGEST: Final = "digest"  # the name, in a token, of the digest of all that stands beside it
DIGEST_CHARACTERS: Final = 16  # against slips and edits by hand; it keeps no secret

_Count = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, slots=True)
class FilesRead:
    """How far the rows of a table's version were read: whole files, then rows of the next one.

    `commit_id` is that of the cut whose rows they are.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: _Count
    commit_id: str
    files: _Count = 0
    rows: _Count = 0


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """A place between two frames of a topic: what was before it is not read again.

    `offsets` are the next ones of the log, by partition, of the topic's incarnation `topic_id`;
    `snapshot` says that rows of a snapshot come first, and which.
    `is_upsert`: a newer record of a key replaces the older, or deletes it, and frames tell which.
    `as_of_ms` is a time, in milliseconds since the epoch, at which nothing behind this place was
    published yet; None where no deletion behind it needs to be seen.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    topic: str
    topic_id: str
    offsets: Mapping[_Count, _Count]
    snapshot: FilesRead | None = None
    is_upsert: bool = False
    as_of_ms: int | None = None

    def to_text(self) -> str:
        """One line of JSON that `from_text` reads, in this release and in later ones."""
        return json.dumps({**_content(self), DIGEST: _digest(self)}, separators=(",", ":"))

    @staticmethod
    def from_text(text: str) -> "ReadPosition":
        """The position that a text tells; tokens of older releases have no digest.

        Raises ReadRefusedError (BAD_TOKEN) for a text that `to_text` did not make so.
        """
        try:
            content = _OBJECT.validate_json(text)
            told = content.pop(DIGEST, None)
            position = _POSITION.validate_python(content)
        except ValidationError as error:
            raise bad_token("This is no token of a reader that this release knows") from error
        if told is not None and told != _digest(position):
            raise bad_token("This token was changed since it was told: its digest is of another")
        return position


def bad_token(what: str) -> ReadRefusedError:
    """The error for a text that is no token, or one that no reader told so."""
    return ReadRefusedError(
        f"{what}; give one as `.token` told it, whole, or begin with"
        ' "snapshot", "beginning" or "end".',
        code="BAD_TOKEN",
    )


def _content(position: ReadPosition) -> dict[str, Any]:
    found: dict[str, Any] = _POSITION.dump_python(position, mode="json")
    return found


def _digest(position: ReadPosition) -> str:
    """Of what is told, in whatever order and with whatever spaces a database gives it back."""
    text = json.dumps(_content(position), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]


_POSITION: Final = TypeAdapter(ReadPosition)
_OBJECT: Final = TypeAdapter(dict[str, Any])
