"""Frames one after the other, and the place behind the last one."""

from collections.abc import Generator
from types import TracebackType
from typing import Self

import polars as pl

from headwater.reader.position import ReadPosition

Steps = Generator[tuple[pl.DataFrame | None, ReadPosition], None, None]
"""Frames with the place behind each; None where only the place moved."""


class Reading:
    """An iterator of frames; `token` always tells the place behind the last one it gave.

    Ends when what was asked for is read, or never. A context manager: `close` lets go of the
    clients. One thread at a time.
    """

    def __init__(self, start: ReadPosition, steps: Steps) -> None:
        self._position = start
        self._steps = steps

    @property
    def position(self) -> ReadPosition:
        """The place behind the last frame."""
        return self._position

    @property
    def token(self) -> str:
        """The same as a text to store; `Product.read(token)` goes on exactly there."""
        return self._position.to_text()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pl.DataFrame:
        """The next frame, waiting for it if need be. Raises as `Product.read` tells."""
        for frame, position in self._steps:
            self._position = position
            if frame is not None:
                return frame
        raise StopIteration

    def close(self) -> None:
        """Stop reading; `token` stays."""
        self._steps.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
