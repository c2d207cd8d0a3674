"""How much memory a child of the sandbox may take: the kernel must never have to choose.

A container's limit counts all its processes; what the child took, its parent would be killed for.
"""

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

LEAST_BYTES: Final = 128 * 2**20  # below, an innocent record could be taken for a deadly one
SLICE_SHARE: Final = 64  # of what a child may take, the records it works on at a time are one part
# of so many: a byte of them becomes 35 in the columns at worst, and is there several times besides
SHARE: Final = 2  # of what is left in the container, the child may take one part of so many
_CGROUPS: Final = Path("/proc/self/cgroup")
_MOUNT: Final = Path("/sys/fs/cgroup")
_NAMES: Final = {  # version: limit, usage, and the part of usage that is a mere cache
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def allowance(most_bytes: int) -> int:
    """How many bytes this process may grow by: `most_bytes`, or less in a small container."""
    left = memory_left(_CGROUPS, _MOUNT)
    return most_bytes if left is None else min(most_bytes, left // SHARE)


def confine(more_bytes: int) -> None:
    """This process may grow by so much from here on; short of memory, the kernel takes it first."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # deaths are expected, and cores hold payloads
    with suppress(OSError):  # a hardened container may forbid it, and the limit above still holds
        Path("/proc/self/oom_score_adj").write_text("1000")


def memory_left(cgroups: Path, mount: Path) -> int | None:
    """The bytes that the cgroups of this process leave it, caches not counted; None = no limit.

    `cgroups` is the file that names them, `mount` the directory where they are mounted.
    """
    left = [_left(group, version) for group, version in _groups(cgroups, mount)]
    return min((each for each in left if each is not None), default=None)


def _groups(cgroups: Path, mount: Path) -> Iterator[tuple[Path, int]]:
    """The directories whose limits hold, with the version of their files: a group, those above."""
    for line in _text(cgroups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, version = (mount / "memory", 1) if controllers else (mount, 2)
        names = [name for name in path.split("/") if name]
        for depth in range(0 if ".." in names else len(names), -1, -1):
            yield root.joinpath(*names[:depth]), version


def _left(group: Path, version: int) -> int | None:
    limit_file, usage_file, cache = _NAMES[version]
    limit = _number(group / limit_file)
    used = _number(group / usage_file)
    if limit is None or used is None:
        return None
    return max(0, limit - used + _statistics(group / "memory.stat").get(cache, 0))


def _number(file: Path) -> int | None:
    """None for a group without the file, or without a limit."""
    text = _text(file).strip() or "max"
    return None if text == "max" else int(text)


def _statistics(file: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(file).splitlines())
    return {name: int(number) for name, number in pairs}


def _text(file: Path) -> str:
    """Empty for what is not there, or not ours to read: then the child's own limit must do."""
    try:
        return file.read_text()
    except OSError:
        return ""
