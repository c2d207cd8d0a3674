"""Mutated values cost themselves: no crash, little memory, little time, both paths of one mind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from tests.fuzz.targets import all_targets

ROOT: Final = Path(__file__).parents[2]
SAMPLE: Final = 20_000
MILLION: Final = 1_000_000
PIECES: Final = 10  # processes, one after the other: a crash tells of its piece alone
ROUNDS_APART: Final = 10_000_000
MAX_MB: Final = 300.0
LIMIT_S: Final = 900


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of targets."""
    file = tmp_path_factory.mktemp("fuzz") / "targets.json"
    file.write_text(json.dumps(all_targets()))
    return file


def fuzz(targets: Path, first_round: int, count: int) -> dict[str, Any]:
    """What a child process saw in so many mutated values, from this round on."""
    note = targets.with_suffix(".round")
    arguments = [str(targets), str(note), str(first_round), str(count)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.child", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    last = done.stderr[-2_000:]
    assert done.returncode == 0, f"it died in round {note.read_text().strip()}: {last}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(found: dict[str, Any], count: int) -> None:
    """Nothing but quarantines, within the bounds."""
    assert not found["failures"], "\n".join(found["failures"])
    assert found["mutated"] >= count
    assert found["peak_mb"] < MAX_MB
    assert found["taken"] > 0
    assert len(found["codes"]) > 10, f"the damage is of too few kinds: {found['codes']}"


def test_a_sample_of_mutated_values(targets: Path) -> None:
    """20,000 values: typed refusals, below 300 MB and 50 ms, the same by column as by row."""
    check(fuzz(targets, 0, SAMPLE), SAMPLE)


@pytest.mark.faults
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("piece", range(1, PIECES + 1))
def test_a_million_mutated_values(targets: Path, piece: int) -> None:
    """The same for a million, a tenth at a time."""
    count = MILLION // PIECES
    check(fuzz(targets, piece * ROUNDS_APART, count), count)
