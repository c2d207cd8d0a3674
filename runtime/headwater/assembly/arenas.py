"""How many arenas the C library keeps for the threads of this process."""

import ctypes
import os
from typing import Final

_M_ARENA_MAX: Final = -8  # of glibc's malloc.h
ARENAS: Final = 2  # by default eight for each core, each of which keeps what its threads gave back


def limit_arenas() -> None:
    """Let the threads that start from here on share `ARENAS` arenas of glibc's `malloc`.

    The variable MALLOC_ARENA_MAX, where it is set, counts instead; other C libraries have no
    arenas. See mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, ARENAS)
