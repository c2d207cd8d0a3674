"""Every error we raise on purpose, named by what the caller does next.

HeadwaterError                 what, where, what to do next; a stable code; an exit code
├── RetriableError             call again with the same arguments, within a bound
│   ├── UnavailableError       broker or registry does not answer            exit 69
│   │   └── OutageError        and not for as long as we wait                exit 69
│   └── StateInUseError        another process still holds a task's state    exit 75
├── AbortableError             abort the transaction, rewind, go on
│   └── OvertakenError         another process committed it first            exit 75
├── RecycleError               the client is not to be trusted: make a new one
├── RebuildError               local state is not to be trusted: make it anew from the changelog
├── FatalError                 stop this process                             exit 70
│   ├── FencedError            another process uses this id                  exit 75
│   ├── TooManyBadRecordsError the dead-letter limit tripped                 exit 65
│   ├── RuleBrokenError        a rule of severity `stop` was broken          exit 65
│   ├── ResultRefusedError     what no single record made was refused        exit 65
│   ├── HaltedError            a partition cannot be read on                 exit 65
│   ├── ReadRefusedError       a consumer asks for what is not there         exit 78
│   └── StartRefusedError      topics or state do not fit the declaration    exit 78
│       └── DamagedError       what a snapshot stored cannot be read again   exit 78
├── UnknownSchemaError         the registry says: no such id (definite)
├── DeclarationError           mistakes in products or contracts, all at once exit 78
├── ConfigurationError         mistakes in settings, all at once             exit 78
├── DifferenceError            a check found a difference                    exit 1
└── UnverifiableError          cannot be decided                             exit 2

Bad *data* is not an error but a `model.Quarantine`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class HeadwaterError(Exception):
    """Base of all errors we raise on purpose. `str(error)` is one sentence without payloads."""

    exit_code: ClassVar[int] = 70
    code: str = "INTERNAL"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class RetriableError(HeadwaterError):
    """Call again with the same arguments, within a bound."""

    exit_code = 69
    code = "RETRIABLE"


class UnavailableError(RetriableError):
    """Broker or registry does not answer."""

    code = "UNAVAILABLE"


class OutageError(UnavailableError):
    """Broker or registry did not answer for as long as we wait; stop this process."""


class StateInUseError(RetriableError):
    """Another process holds the state of a task; after a hand-over it lets go soon."""

    exit_code = 75
    code = "STATE_IN_USE"


class AbortableError(HeadwaterError):
    """Abort the transaction, rewind to its first positions, go on."""

    code = "ABORTED"


class OvertakenError(AbortableError):
    """Another process was first; nothing of ours is visible. Look again and take what is left."""

    exit_code = 75
    code = "SNAPSHOT_TAKEN"


class RecycleError(HeadwaterError):
    """The client's state is unknown: replace it by a new one with the same id."""

    code = "RECYCLED"


class RebuildError(HeadwaterError):
    """What is stored of a task's state is damaged: throw it away, restore from the changelog.

    `task` is its partition index; None when whoever raised it cannot tell.
    """

    code = "STATE_DAMAGED"

    def __init__(self, message: str, *, task: int | None = None) -> None:
        super().__init__(message)
        self.task = task


class FatalError(HeadwaterError):
    """Stop this process."""

    code = "FATAL"


class FencedError(FatalError):
    """Another process uses this transactional id or group member id."""

    exit_code = 75
    code = "FENCED"


class TooManyBadRecordsError(FatalError):
    """The dead-letter limit tripped (promise 6)."""

    exit_code = 65
    code = "TOO_MANY_BAD_RECORDS"


class RuleBrokenError(FatalError):
    """A record broke a rule of the contract whose severity is `stop`; nothing is published."""

    exit_code = 65
    code = "RULE_BROKEN"


class ResultRefusedError(FatalError):
    """A result that no single record made was refused, as a window that closed, or is too large.

    Nothing is published. The code is that of the refusal (`model.Code`), RULE_BROKEN for a rule
    whose severity is `stop`, or AGGREGATE_OVERFLOW or AGGREGATE_FAILED where there is no result.
    """

    exit_code = 65
    code = "RESULT_REFUSED"


class HaltedError(FatalError):
    """Partitions are halted, and nothing else is left to do; the code says why they are."""

    exit_code = 65
    code = "PARTITION_HALTED"


class ReadRefusedError(FatalError):
    """What a consumer asks of a product is not there, or not any more; the code says what."""

    exit_code = 78
    code = "READ_REFUSED"


class StartRefusedError(FatalError):
    """Topics, offsets or partitions do not fit the declaration; nothing was read."""

    exit_code = 78
    code = "START_REFUSED"


class DamagedError(StartRefusedError):
    """What a snapshot stored (a file, its log, a commit record) cannot be read again.

    The code is FILE_GONE for a file that is not there any more.
    """

    code = "SNAPSHOT_DAMAGED"


class UnknownSchemaError(HeadwaterError):
    """The registry definitely has no schema of this id."""

    code = "UNKNOWN_SCHEMA_ID"


class RegistrationRefusedError(HeadwaterError):
    """The registry refuses a schema as incompatible; the message carries its reasons."""

    exit_code = 78
    code = "INCOMPATIBLE_SCHEMA"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: code, sentence, and the file and line where known."""

    code: str
    message: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        if self.file is None:
            return f"{self.code}: {self.message}"
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.code}: {self.message}"


class ProblemsError(HeadwaterError):
    """Several mistakes of a user's, reported at once."""

    exit_code = 78

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class DeclarationError(ProblemsError):
    """Mistakes in products or contracts."""

    code = "DECLARATION"


class ConfigurationError(ProblemsError):
    """Mistakes in settings."""

    code = "CONFIGURATION"


class DifferenceError(HeadwaterError):
    """A check found a difference."""

    exit_code = 1
    code = "DIFFERENT"


class UnverifiableError(HeadwaterError):
    """The question cannot be decided, and why."""

    exit_code = 2
    code = "UNVERIFIABLE"
