"""A container's limit is read as the kernel writes it, in both of its versions."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from headwater.assembly.sandbox_memory import allowance, memory_left

V2 = "0::/pod/app\n"
V1 = "5:devices:/\n4:cpu,memory:/pod/app\n0::/\n"
NO_LIMIT = "9223372036854771712"  # of version 1


def left(directory: Path, cgroups: str, files: Mapping[str, str]) -> int | None:
    """What is left with these files below the mount of the cgroups."""
    mount = directory / "cgroup"
    for name, text in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(f"{text}\n")
    named = directory / "self"
    named.write_text(cgroups)
    return memory_left(named, mount)


@pytest.mark.parametrize(
    ("cgroups", "files", "expected"),
    [
        (V2, {"pod/app/memory.max": "1000", "pod/app/memory.current": "300"}, 700),
        (V2, {"pod/app/memory.max": "max", "pod/app/memory.current": "300"}, None),
        (
            V2,
            {
                "pod/app/memory.max": "1000",
                "pod/app/memory.current": "300",
                "pod/app/memory.stat": "anon 50\ninactive_file 200",
            },
            900,
        ),
        (
            V2,
            {
                "pod/app/memory.max": "1000",
                "pod/app/memory.current": "300",
                "pod/memory.max": "900",
                "pod/memory.current": "800",
            },
            100,
        ),
        ("0::/\n", {"memory.max": "1000", "memory.current": "1001"}, 0),
        ("0::/../../other\n", {"memory.max": "1000", "memory.current": "300"}, 700),
        (
            V1,
            {
                "memory/pod/app/memory.limit_in_bytes": "1000",
                "memory/pod/app/memory.usage_in_bytes": "300",
                "memory/pod/app/memory.stat": "inactive_file 1\ntotal_inactive_file 100",
                "memory/memory.limit_in_bytes": NO_LIMIT,
                "memory/memory.usage_in_bytes": "5000",
            },
            800,
        ),
        # a container that sees its own group as the root of the mount
        (V1, {"memory/memory.limit_in_bytes": "9", "memory/memory.usage_in_bytes": "4"}, 5),
        (V2, {}, None),
        ("", {}, None),
    ],
)
def test_what_a_container_leaves_is_the_least_of_its_groups(
    tmp_path: Path, cgroups: str, files: Mapping[str, str], expected: int | None
) -> None:
    """Limit less usage; what the kernel merely caches is not used."""
    assert left(tmp_path, cgroups, files) == expected


def test_a_system_without_cgroups_has_no_limit(tmp_path: Path) -> None:
    """Nothing is guessed, nor of files that cannot be read."""
    assert memory_left(tmp_path / "absent", tmp_path) is None
    (tmp_path / "memory.max").mkdir()  # reading it fails, even for root
    (tmp_path / "self").write_text("0::/\n")
    assert memory_left(tmp_path / "self", tmp_path) is None


@pytest.mark.parametrize(("free", "expected"), [(None, 1000), (5000, 1000), (600, 300)])
def test_a_child_takes_at_most_half_of_what_is_left(
    monkeypatch: pytest.MonkeyPatch, free: int | None, expected: int
) -> None:
    """And never more than it asked for."""
    monkeypatch.setattr("headwater.assembly.sandbox_memory.memory_left", lambda *_: free)
    assert allowance(1000) == expected
