"""Memory of the threads that libraries start."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="arenas are glibc's")

TOLD = """
import ctypes, os, tempfile, threading
from headwater.assembly.arenas import limit_arenas
if {limited}:
    limit_arenas()
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)
def keep():
    c.malloc(1_000)
    together.wait()
threads = [threading.Thread(target=keep) for _ in range(8)]
[each.start() for each in threads]
[each.join() for each in threads]
c.fopen.restype = ctypes.c_void_p
c.fclose.argtypes = [ctypes.c_void_p]
c.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
with tempfile.NamedTemporaryFile() as file:
    stream = c.fopen(file.name.encode(), b"w")
    c.malloc_info(0, stream)
    c.fclose(stream)
    print(file.read().count(b"<heap nr="))
"""


def arenas(*, limited: bool, **environment: str) -> int:
    """How many there are when eight threads have asked for memory, in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", TOLD.format(limited=limited)],
        env=os.environ | environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return int(ended.stdout)


def test_the_threads_of_a_run_share_two_arenas() -> None:
    """A thread for each partition of each library must not keep memory of its own."""
    assert arenas(limited=True) == 2 < arenas(limited=False)


def test_who_sets_the_variable_of_the_c_library_decides() -> None:
    """A machine with many cores may want more."""
    assert arenas(limited=True, MALLOC_ARENA_MAX="3") == 3
