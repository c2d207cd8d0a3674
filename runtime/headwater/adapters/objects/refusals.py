"""What an object store's errors mean. obstore and deltalake tell it in their texts alone."""

import re
from dataclasses import dataclass
from typing import Final

_NESTED: Final = re.compile(r"\s*\x1b\[\d+m↳\x1b\[0m\s*")  # as deltalake writes what is within
_STATUS: Final = re.compile(r"status code:? (\d{3})(?: ([A-Za-z ]+))?")
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")  # S3's own name of the reason
SERVER_ERRORS: Final = 500  # from here on they may pass
_PASSING: Final = frozenset({408, 425, 429})  # of those below
_MOST: Final = 200  # characters of a text that is not known here


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call failed, and whether it will do so for ever as things are."""

    reason: str
    is_definite: bool


_MEANINGS: Final = (
    (
        re.compile("/latest/(?:api/token|meta-data)"),  # of the machine: the last place to look
        Refusal(
            "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give "
            "the machine a role; profiles in ~/.aws are not read",
            is_definite=True,
        ),
    ),
    (
        re.compile("Missing (?:AccessKeyId|SecretAccessKey)"),
        Refusal(
            "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set: set both",
            is_definite=True,
        ),
    ),
    (
        re.compile("incorrectly configured region"),
        Refusal("the bucket is in another region: set AWS_REGION", is_definite=True),
    ),
    (
        re.compile("TimedOut|kind: Timeout|operation timed out"),
        Refusal("the store does not answer in time", is_definite=False),
    ),
    (
        re.compile(r"kind: Connect|client error \(Connect\)"),
        Refusal("the store cannot be reached", is_definite=False),
    ),
)
"""What stands in the texts of errors without a status, and what it means."""


def refusal(error: Exception) -> Refusal:
    """What an error of obstore, of deltalake, or of the disk, means."""
    text = _NESTED.sub(" ", str(error))
    if isinstance(error, OSError) and error.errno is not None:
        return Refusal(error.strerror or type(error).__name__, is_definite=False)
    for known, meaning in _MEANINGS:
        if known.search(text) is not None:
            return meaning
    if (status := _STATUS.search(text)) is not None:
        return _answered(int(status[1]), (status[2] or "").strip(), text)
    first = text.partition("\n")[0][:_MOST]
    return Refusal(f"{type(error).__name__}: {first}", is_definite=False)


def _answered(status: int, phrase: str, text: str) -> Refusal:
    code = _CODE.search(text)
    why = f" ({code[1]})" if code is not None else ""
    is_definite = status < SERVER_ERRORS and status not in _PASSING
    return Refusal(f"the store answers {status} {phrase}".rstrip() + why, is_definite=is_definite)
