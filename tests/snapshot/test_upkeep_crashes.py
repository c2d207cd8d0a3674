"""The role is killed anywhere in notice and upkeep: what is needed stays, what is due comes."""

import random
from pathlib import Path
from typing import Final

import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.keepers import ADDING, DAYS_LATER, IN_TIME, POINTS, REMOVING, Office, turn
from tests.snapshot.writers import ANYWHERE, Death, Orders

from headwater.ports import CommitRecord

ORDERS: Final = 90  # new ones in each round: three commits
FURTHEST: Final = 40  # changes of files into an upkeep
LONG_S: Final = 1.0  # within which a process that is killed at any time has begun or ended
LOOKED_AT: Final = 6  # of the newest versions; of Iceberg's no more than 40 are kept


def whole(office: Office) -> list[int]:
    """Of the newest versions those that can be read, each found to have the rows of its cut."""
    newest = office.orders.table().version() or 0
    return office.whole(range(max(1, newest - LOOKED_AT), newest + 1))


def deaths(chance: random.Random, rounds: int) -> list[Death]:
    """Each named point once, then any of them, any change of files and any time."""
    some = [
        Death(chance.choice(POINTS), chance.randint(1, 3)),
        Death(ANYWHERE, chance.randint(1, FURTHEST)),
        Death(IN_TIME),
    ]
    return [*map(Death, POINTS), *chance.choices(some, k=rounds)][:rounds]


def require_tidy(office: Office, pinned: int) -> None:
    """Nothing lies about that no kept version has."""
    table, directory = office.orders.table(), office.directory
    named = {directory / file.name for each in (None, pinned) for file in table.files(each)}
    assert set(directory.rglob("part-*.parquet")) == named
    assert not list(directory.rglob(".*.tmp"))
    records = {version: each for version, each in table.commits() if isinstance(each, CommitRecord)}
    kept = {records[pinned].statistics, records[max(records)].statistics}
    assert {path.name.split(".")[0] for path in (directory / "_statistics").iterdir()} == kept


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    "rounds",
    [len(POINTS), pytest.param(100, marks=pytest.mark.faults)],
    ids=["few", "many"],
)
def test_a_role_killed_in_notice_or_upkeep_harms_nothing_and_goes_on(
    format_: str, rounds: int, tmp_path: Path
) -> None:
    """At each named point in turn, at any change of files, and at any time.

    Every version that is kept has the rows of its cut, pinned ones and those younger than `keep`
    are kept, the newest is the log; in the end each commit was announced once, in order, and
    nothing lies about.
    """
    chance = random.Random(rounds)
    office = Office(Orders(tmp_path / "table", format_, ORDERS), 7)
    assert turn(office.orders, 7)
    (pinned, *_) = office.committed()
    office.orders.table().pin("audit", pinned)
    before, died = whole(office), 0
    for number, death in enumerate(deaths(chance, rounds)):
        orders = Orders(tmp_path / "table", format_, ORDERS * (number + 2))
        office = Office(orders, _keep_days(death, chance))
        lived = turn(orders, office.keep_days, death, *_within_s(death, chance))
        assert not (lived and number < len(POINTS)), f"it never came to {death.point}"
        died += not lived
        orders.ends()
        assert office.whole([pinned]) == [pinned]
        after = whole(office)
        if office.keep_days > DAYS_LATER:
            assert {each for each in before if each >= after[-1] - LOOKED_AT} <= set(after)
        assert after[-1] == orders.table().version()
        announced = office.announced()
        assert announced == office.committed()[: len(announced)]
        before = after
    assert died > rounds // 2
    last = Office(office.orders, 1)
    assert turn(last.orders, 1)
    assert last.orders.taken() == last.orders.published()
    assert last.announced() == last.committed()
    assert last.orders.verify().outcome == "equal"
    require_tidy(last, pinned)


def _keep_days(death: Death, chance: random.Random) -> int:
    """More or less than files are old."""
    is_named = {**dict.fromkeys(ADDING, 7), **dict.fromkeys(REMOVING, 1)}
    return is_named.get(death.point) or chance.choice([1, 7])


def _within_s(death: Death, chance: random.Random) -> list[float]:
    return [chance.uniform(0, LONG_S)] if death.point == IN_TIME else []
