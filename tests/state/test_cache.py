"""The cache of a task: columns found by hash, which say what a dict would say, or nothing."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headwater.state import entries
from headwater.state.cache import UNKNOWN, Cache
from headwater.state.entries import Entries
from headwater.state.hash_index import NOWHERE, HashIndex

MANY_BYTES: Final = 1 << 20
FEW_BYTES: Final = 1_500  # some thirty entries
SOME_KEYS: Final = [b"", b"\0", b"\0\0", *(b"%d" % n for n in range(60))]

some_entries = st.dictionaries(
    st.sampled_from(SOME_KEYS), st.none() | st.binary(max_size=12), max_size=25
)


def few_hashes(keys: Collection[bytes]) -> Any:
    """So few that most keys share theirs with another."""
    return np.array([hash(key) % 7 << 61 for key in keys], np.uint64)


def cache_of(held: Mapping[bytes, bytes | None], limit_bytes: int = MANY_BYTES) -> Cache:
    """A whole cache of these entries."""
    cache = Cache(is_whole=True)
    cache.limit(limit_bytes)
    cache.add(Entries.of([*held], [*held.values()]))
    return cache


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=12), max_size=6))
def test_an_index_finds_the_row_that_a_hash_was_put_with_last(
    batches: list[list[tuple[int, bool]]],
) -> None:
    """And tells what else was put with it; hashes that begin in one slot are told apart."""
    index = HashIndex(100)
    known: dict[int, int] = {}
    given_: list[int] = []
    for batch in batches:
        hashes = [n if is_low else n << 60 for n, is_low in batch]
        rows = range(len(given_), len(given_) + len(batch))
        given_ += hashes
        hidden = index.put(np.array(hashes, np.uint64), np.array(rows, np.int32)).tolist()
        after = {**known, **dict(zip(hashes, rows, strict=True))}
        for row, other in zip(rows, hidden, strict=True):
            is_new = given_[row] not in known and after[given_[row]] == row
            assert (
                other == NOWHERE if is_new else (given_[other], other != row) == (given_[row], True)
            )
        known = after
        asked = [*range(10), *(n << 60 for n in range(10))]
        found = index.find(np.array(asked, np.uint64)).tolist()
        assert found == [known.get(each, NOWHERE) for each in asked]
    assert sorted(index.rows().tolist()) == sorted(known.values())


class CacheMachine(RuleBasedStateMachine):
    """`stored` is the local store under the cache."""

    limit_bytes: int
    is_right_about_everything: bool

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[bytes, bytes | None] = {}
        self.cache = cache_of({}, self.limit_bytes)

    @rule(added=some_entries)
    def add(self, added: dict[bytes, bytes | None]) -> None:
        """New keys, known ones, and deletions."""
        self.cache.add(Entries.of([*added], [*added.values()]))
        self.stored.update(added)

    @rule(share=st.sampled_from([0, 0.3, 1]))
    def limit(self, share: float) -> None:
        """Another limit for a while."""
        self.cache.limit(int(self.limit_bytes * share))
        assert self.cache.bytes <= self.limit_bytes * share
        self.cache.limit(self.limit_bytes)

    @invariant()
    def it_says_what_is_stored_or_nothing(self) -> None:
        """Nothing only where something was dropped."""
        keys = [*SOME_KEYS, *SOME_KEYS]
        found = self.cache.get(keys)
        known = [
            (key, value) for key, value in zip(keys, found, strict=True) if value is not UNKNOWN
        ]
        assert known == [(key, self.stored.get(key)) for key, _ in known]
        assert len(known) == len(keys) or not self.cache.is_whole
        assert self.cache.bytes <= self.limit_bytes


class Roomy(CacheMachine):
    """Nothing is dropped but by a lower limit."""

    limit_bytes = MANY_BYTES


class Narrow(CacheMachine):
    """Much is dropped."""

    limit_bytes = FEW_BYTES


class Colliding(CacheMachine):
    """Most keys share their hash with another."""

    limit_bytes = MANY_BYTES

    def __init__(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(entries, "hashes_of", few_hashes)
        super().__init__()

    def teardown(self) -> None:
        self.patch.undo()


SETTINGS: Final = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestRoomy = Roomy.TestCase
TestRoomy.settings = SETTINGS
TestNarrow = Narrow.TestCase
TestNarrow.settings = SETTINGS
TestColliding = Colliding.TestCase
TestColliding.settings = SETTINGS
