"""Which contract of a topic takes a record: by the name of the record in its writer's schema."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from headwater.contract.schema import Contract


class EventTypes:
    """The names that the contracts of one topic take.

    A full name goes to the contract of that name, then to the one with that alias. Any other goes
    by what stands behind its namespace, as Avro matches names, where only one contract has that:
    so whatever the evolution gate calls compatible finds its reader.
    """

    def __init__(self, contracts: Sequence[Contract]) -> None:
        names = [_names(each) for each in contracts]
        shorts = [{_short(name) for name in each} for each in names]
        shared = Counter(short for each in shorts for short in each)
        self._full: Final[Mapping[str, int]] = {
            name: place
            for is_alias in (True, False)  # a name counts more than an alias
            for place, each in enumerate(names)
            for name in (each[1:] if is_alias else each[:1])
        }
        self._short: Final[Mapping[str, int]] = {
            short: place
            for place, each in enumerate(shorts)
            for short in each
            if shared[short] == 1
        }

    def place(self, name: str) -> int | None:
        """The place of the contract that takes a record of this full name; None when none does."""
        return self._full.get(name, self._short.get(_short(name)))


def claimed_twice(contracts: Sequence[Contract]) -> Iterator[tuple[str, Contract, Contract]]:
    """Each full name, or alias, that two of the contracts claim: the name, the first, another."""
    owners: dict[str, Contract] = {}
    for contract in contracts:
        for name in dict.fromkeys(_names(contract)):
            owner = owners.setdefault(name, contract)
            if owner is not contract:
                yield name, owner, contract


def _names(contract: Contract) -> tuple[str, ...]:
    return contract.record.name, *contract.record.aliases


def _short(name: str) -> str:
    return name.rpartition(".")[2]
