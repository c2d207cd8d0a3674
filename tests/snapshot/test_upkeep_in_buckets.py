"""Upkeep, its lock and pins, and the latest of each key, where tables are in a bucket."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import obstore
import pytest
from tests.snapshot.bucket_tables import Opener, commit, data, named, opened, place
from tests.snapshot.ledger import Ledger

from headwater.adapters.objects import files
from headwater.adapters.objects.files import BucketFiles
from headwater.adapters.tables.upkeep import LOCK
from headwater.clock import ManualClock
from headwater.errors import DamagedError, RetriableError
from headwater.ports import Swept, Table
from headwater.snapshot.upkeep import Upkeep

__all__ = ["opened", "place"]

DAY_MS = 86_400_000


def later(days: float) -> ManualClock:
    """A clock that is so many days ahead of the files."""
    return ManualClock(at_s=time.time() + days * DAY_MS / 1_000)


def test_upkeep_merges_and_takes_only_what_nobody_needs(opened: Opener, place: BucketFiles) -> None:
    """A pinned version and all records stay; files of attempts that came to nothing go."""
    for start in range(0, 20, 2):
        commit(opened(), start, start + 2)
    pinned = opened().commits()[3][0]
    opened().pin("audit", pinned)
    left = (".part-of-a-crash.tmp", "part-of-a-crash.parquet")  # a draft, and one that has a name
    for name in left:
        place.put(name, b"x")
    done = Upkeep(opened(), 1 << 20, DAY_MS, later(3)).run()
    assert done.merged >= 8
    assert done.swept is not None
    again = opened()
    assert again.rows() == 20
    assert sum(each.rows or 0 for each in again.files(pinned)) == 8
    assert again.dataset(pinned).count_rows() == 8
    assert len(again.commits()) == 10
    assert data(place) == named(again) | {each.name for each in again.files(pinned)}
    assert not any(map(place.exists, left))
    assert not place.exists(f"{LOCK}.lock")
    assert again.is_upkeep_due(later(3).wall_ms()) is False
    assert again.unpin("audit")
    Upkeep(opened(), 1 << 20, DAY_MS, later(5)).run()
    with pytest.raises(DamagedError) as gone:
        opened().files(pinned)
    assert gone.value.code == "FILE_GONE"


def test_nothing_is_pinned_while_upkeep_is_under_way(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be going at that moment; another upkeep waits for its turn too."""
    commit(opened(), 0, 2)
    one, other = opened(), opened()
    told: list[object] = []

    def busy(_now_ms: int, _keep_ms: int) -> Swept:
        told.append(other.tidy(later(3).wall_ms(), DAY_MS))
        with pytest.raises(RetriableError) as caught:
            other.pin("audit", 1)
        told.append(caught.value.code)
        return Swept()

    monkeypatch.setattr(one, "_sweep", busy)
    one.tidy(later(3).wall_ms(), DAY_MS)
    assert told == [None, "SNAPSHOT_BUSY"]
    other.pin("audit", 1)
    assert opened().pins() == {"audit": 1}


def test_a_lock_that_is_let_go_of_while_it_is_looked_at_was_held(
    place: BucketFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever came too late for it is told so, and not that the store refuses."""
    look = BucketFiles.read
    with ExitStack() as holding:
        holding.enter_context(BucketFiles(place.location).sole(LOCK))

        def late(*given: Any) -> bytes:
            holding.close()
            return look(*given)

        monkeypatch.setattr(BucketFiles, "read", late)
        with place.sole(LOCK) as held:
            assert held is None
    with place.sole(LOCK) as held:
        assert held is not None


def test_the_lock_of_a_process_that_died_is_taken_over_by_one(
    place: BucketFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its lease is over, and not before; of two who see that, one gets it."""
    place.put_if_absent(f"{LOCK}.lock", b"of a process that died")
    with place.sole(LOCK) as held:
        assert held is None
    monkeypatch.setattr(files, "LEASE_S", 0.0)
    seen = obstore.head
    others: list[bool] = []

    def overtaken(*given: Any) -> Any:
        found = seen(*given)
        with monkeypatch.context() as patch:
            patch.setattr(obstore, "head", seen)
            with BucketFiles(place.location).sole(LOCK) as other:
                others.append(other is not None)
        return found

    monkeypatch.setattr(obstore, "head", overtaken)
    with place.sole(LOCK) as held:
        assert held is None
    assert others == [True]


def test_who_holds_the_lock_too_long_changes_nothing_any_more(
    place: BucketFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then it may be another's: files stay, and what was done is not written down."""
    place.put("part-old.parquet", b"x")
    monkeypatch.setattr(files, "HELD_S", 0.0)
    with pytest.raises(TimeoutError), place.sole(LOCK):
        place.delete("part-old.parquet")
    assert place.exists("part-old.parquet")
    assert place.exists(f"{LOCK}.lock")
    monkeypatch.setattr(files, "HELD_S", 60.0)
    place.delete("part-old.parquet")


@dataclass
class BucketLedger(Ledger):
    """Orders whose table is in a bucket."""

    opened: Opener = field(kw_only=True)

    def table(self) -> Table:
        """A new handle."""
        return self.opened()


def test_the_latest_of_each_key_is_kept_in_a_bucket(opened: Opener) -> None:
    """Buckets of keys are replaced in one commit, and proved after each cut and upkeep."""
    ledger = BucketLedger(opened=opened)
    ledger.publish({f"order-{n}": float(n) for n in range(20)})
    ledger.take()
    ledger.publish({f"order-{n}": 100.0 for n in range(3, 8)})
    ledger.delete(["order-1", "order-19"])
    assert ledger.take().rows_total == 18
    assert ledger.rows() == ledger.expected()
    Upkeep(opened(), 1 << 20, DAY_MS, later(3)).run()
    verdict = ledger.verify()
    assert (verdict.outcome, verdict.rows) == ("equal", 18)
