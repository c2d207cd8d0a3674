"""Frames one after the other, and the place behind the last one."""

from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Self

import polars as pl

from headwater.errors import ReadRefusedError
from headwater.reader.position import ReadPosition

Steps = Generator[tuple[pl.DataFrame | None, ReadPosition], None, None]
"""Frames with the place behind each; None where only the place moved."""


class Reading:
    """An iterator of frames; `token` always tells the place behind the last one it gave.

    `columns` are those of every frame. Ends when what was asked for is read, or never. A context
    manager: `close` lets go of the clients. One thread at a time. After an error, an interruption
    or `close` it does not go on: that must not look like the end.
    """

    def __init__(self, start: ReadPosition, columns: Sequence[str], steps: Steps) -> None:
        self.columns = columns
        self._position = start
        self._steps = steps
        self._is_broken = False

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
        """The next frame, waiting for it if need be.

        Raises as `Product.read` tells, and ReadRefusedError (READING_ENDED) when it was closed, or
        ended with an error before.
        """
        if self._is_broken:
            raise ReadRefusedError(
                f"This reading of {self._position.topic} was closed, interrupted or ended with an"
                f" error before; go on with .read(reading.token).",
                code="READING_ENDED",
            )
        self._is_broken = True  # until this step is done, whatever interrupts it
        for frame, position in self._steps:
            if frame is not None:
                self._position, self._is_broken = position, False
                return frame
            self._position = position
        self._is_broken = False
        raise StopIteration

    def close(self) -> None:
        """Stop reading; `token` stays."""
        self._is_broken = True
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
