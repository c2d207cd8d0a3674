"""Where in the author's files a part of a declaration was written."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, TracebackType
from typing import Final

PACKAGE: Final = str(Path(__file__).parents[1])  # frames below it are ours, not the author's
LABEL_PARTS: Final = 3  # domain/product/product.py: enough to find the file, no machine path


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """A file and a line of the author's."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{'/'.join(Path(self.file).parts[-LABEL_PARTS:])}:{self.line}"


def caller() -> Origin:
    """The nearest frame on the stack that is not ours."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame is None:
        return Origin("<unknown>", 0)
    return Origin(frame.f_code.co_filename, frame.f_lineno)


def origin_of(code: CodeType) -> Origin:
    """The first line of a function."""
    return Origin(code.co_filename, code.co_firstlineno)


def deepest_in(file: str, traceback: TracebackType | None) -> Origin | None:
    """The innermost frame of a traceback that lies in `file`; None when there is none."""
    found = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            found = Origin(file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found
