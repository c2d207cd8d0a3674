"""Letters of one key, in order: which wait for which (`DeadLetters(keep_order=True)`)."""

from collections.abc import Iterable, Sequence

from headwater.assembly.audit import Place
from headwater.assembly.letters.work import LetterBatch, place_of
from headwater.engine import StoredLetter

Chain = Place
"""An input partition, and the offset in it of the record that all others of a key wait for.

A letter that waits for none and for which none waits is a chain of its own.
"""


def chain_of(letter: StoredLetter) -> Chain:
    """What a letter comes back in order with."""
    first = letter.source_offset if letter.behind is None else letter.behind
    return letter.source, first


def whole_chains(asked: frozenset[Place], letters: Sequence[StoredLetter]) -> frozenset[Place]:
    """The places of all open letters that come back with those that are asked for."""
    waited_for = {chain_of(letter) for letter in letters if letter.behind is not None}
    chains = waited_for & {chain_of(letter) for letter in letters if place_of(letter) in asked}
    return asked | {place_of(letter) for letter in letters if chain_of(letter) in chains}


class Stalled:
    """The chains of one replay that did not come to their end: what follows in them stays open."""

    def __init__(self) -> None:
        self._chains: set[Chain] = set()

    def behind(self, batch: LetterBatch, left: frozenset[Place]) -> frozenset[Place]:
        """The records of a batch that wait for one that stays open, by their first letters.

        One that fails again stays open, and so does one that is refused or in `left`.
        """
        behind: set[Place] = set()
        for letters, is_refused in _in_order(batch):
            place, chains = place_of(letters[0]), {chain_of(letter) for letter in letters}
            if chains & self._chains:
                behind.add(place)
            elif not (is_refused or place in left or place in batch.failed):
                continue
            self._chains |= chains
        return frozenset(behind)


def _in_order(batch: LetterBatch) -> Iterable[tuple[Sequence[StoredLetter], bool]]:
    """The letters of each record, and whether they are refused: those behind any that are not."""
    found = [
        *((each.letters, False) for each in batch.records),
        *(([each.letter], True) for each in batch.refused),
    ]
    return sorted(found, key=lambda each: (each[0][0].source, each[0][0].source_offset, each[1]))
