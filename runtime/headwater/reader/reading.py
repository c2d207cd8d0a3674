"""Frames one after the other, and the place behind the last one."""

from collections.abc import Generator, Sequence
from threading import Lock
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
    manager: `close` lets go of the clients. One thread reads; `close` may be called by any, and by
    a handler of signals. After an error, an interruption or `close` it does not go on: that must
    not look like the end.
    """

    def __init__(self, start: ReadPosition, columns: Sequence[str], steps: Steps) -> None:
        self.columns = columns
        self._position = start
        self._steps = steps
        self._is_broken = False
        self._is_closed = False
        self._stepping = Lock()  # never waited for: a handler of signals would wait for itself

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

        Raises as `Product.read` tells, and ReadRefusedError (READING_ENDED) when it is closed, or
        ended with an error before.
        """
        if not self._stepping.acquire(blocking=False):
            if self._is_closed:  # or another thread is just closing it
                raise self._broken()
            raise self._ended("is read by another thread", "give each its own .read()")
        try:
            return self._next()
        finally:
            self._stepping.release()
            if self._is_closed:
                self.close()  # by whoever could not, because of this step

    def _next(self) -> pl.DataFrame:
        if not self._is_broken:
            self._is_broken = True  # until this step is done, whatever interrupts it
            for frame, position in self._steps:
                if self._is_closed:
                    break
                self._position = position
                if frame is not None:
                    self._is_broken = False
                    return frame
            else:
                if not self._is_closed:
                    self._is_broken = False
                    raise StopIteration
        raise self._broken()

    def close(self) -> None:
        """Stop reading; `token` stays.

        While another thread waits for a frame, that one is told so and lets go of the clients: at
        the end of a log within a poll, 0.1 s, else behind what is being read or asked.
        """
        self._is_closed = True
        if self._stepping.acquire(blocking=False):
            try:
                self._steps.close()
            finally:
                self._stepping.release()

    def _broken(self) -> ReadRefusedError:
        return self._ended(
            "was closed, interrupted or ended with an error before",
            "go on with .read(reading.token)",
        )

    def _ended(self, how: str, what_next: str) -> ReadRefusedError:
        return ReadRefusedError(
            f"This reading of {self._position.topic} {how}; {what_next}.", code="READING_ENDED"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
