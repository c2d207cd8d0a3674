"""What does not fit into memory, where the directory for temporary files refuses it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.snapshot.lake import Lake
from tests.snapshot.ledger import Ledger
from tests.snapshot.test_latest import numbered

from headwater.errors import RetriableError
from headwater.snapshot.upkeep import Upkeep


def latest(place: Path) -> Callable[[], object]:
    """A cut of mode latest that is due."""
    ledger = Ledger(place)
    ledger.publish(numbered(0, 9))
    return ledger.take


def merge(place: Path) -> Callable[[], object]:
    """A merge that is due."""
    lake = Lake(place)
    for step in range(30, 42):
        lake.publish(10 * step, 10 * step + 10)
        lake.take()
    return Upkeep(lake.table(), 1 << 27, 1).run


@pytest.mark.parametrize("begun", [latest, merge])
@pytest.mark.parametrize("place", ["/dev/full", "/proc/headwater"], ids=["no place", "refused"])
def test_temporary_files_that_are_refused_are_told_and_tried_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    begun: Callable[[Path], Callable[[], object]],
) -> None:
    """One sentence that names the directory; it passes once there is room."""
    work = begun(tmp_path / "orders")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", place)
        with pytest.raises(RetriableError, match=f"temporary files in {place}: .*TMPDIR") as told:
            work()
        assert told.value.code == "SNAPSHOT_STORAGE"
    work()


def test_a_disk_that_fills_in_the_middle_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's complaint is the system's."""

    def full(*_given: object) -> None:
        raise OSError(28, "No space left on device")

    ledger = Ledger(tmp_path / "orders")
    ledger.publish(numbered(0, 9))
    with monkeypatch.context() as patch:
        patch.setattr("headwater.snapshot.buckets.on_disk", full)
        with pytest.raises(RetriableError, match="No space left on device"):
            ledger.take()
    assert ledger.take().rows_total == 9
