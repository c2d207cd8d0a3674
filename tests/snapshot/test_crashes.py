"""Writers that are killed or race: whatever they do, the table is a whole snapshot."""

import random
from pathlib import Path
from typing import Final

import pytest
from tests.snapshot.formats import FORMATS, IN_BUCKETS
from tests.snapshot.writers import ANYWHERE, CATALOGUE, POINTS, Death, Orders, race, work

ORDERS: Final = 90  # new ones in each round: three commits
OVERTAKEN: Final = 75  # the exit code of who came second
FURTHEST: Final = 24  # changes of files into a run, which makes 24 to 52


MANY: Final = [
    pytest.param(format_, 100, marks=pytest.mark.faults, id=f"{format_}-many")
    for format_ in (*FORMATS, *IN_BUCKETS)
]
FEW: Final = [pytest.param(format_, 11, id=f"{format_}-few") for format_ in FORMATS]
FEW_IN_BUCKETS: Final = [
    pytest.param(format_, len(POINTS), id=f"{format_}-few") for format_ in IN_BUCKETS
]


@pytest.fixture
def place(
    request: pytest.FixtureRequest, format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path | str:
    """Where a table may begin."""
    if format_ == "iceberg in a bucket":
        monkeypatch.setenv(CATALOGUE, request.getfixturevalue("catalogue_url"))
    if format_ in IN_BUCKETS:
        return str(request.getfixturevalue("bucket"))
    return tmp_path / "table"


@pytest.mark.parametrize(("format_", "rounds"), [*FEW, *FEW_IN_BUCKETS, *MANY])
def test_a_writer_killed_at_any_point_leaves_a_snapshot_that_goes_on(
    format_: str, rounds: int, place: Path | str
) -> None:
    """At each named point in turn, and between any two changes of files: no row twice, none less.

    Whatever stands there is a whole snapshot, the next writer goes on from it, and the end of it
    all is the log.
    """
    chance = random.Random(rounds)
    deaths = 0
    for number in range(1, rounds + 1):
        orders = Orders(place, format_, ORDERS * number)
        if number <= len(POINTS) or isinstance(place, str):  # where no file of ours changes
            assert not work(orders, Death(POINTS[(number - 1) % len(POINTS)], chance.randint(1, 2)))
            deaths += 1
        else:
            death = chance.choice(
                [
                    Death(ANYWHERE, chance.randint(1, FURTHEST)),
                    Death(chance.choice(POINTS), chance.randint(1, 3)),
                ]
            )
            deaths += not work(orders, death)
        orders.ends()
    assert deaths > rounds // 2
    assert work(orders)
    assert orders.taken() == orders.published()
    assert orders.verify().outcome == "equal"


@pytest.mark.parametrize(("format_", "rounds"), [*FEW, *MANY])
def test_of_two_processes_at_one_range_exactly_one_takes_it(
    format_: str, rounds: int, place: Path | str
) -> None:
    """Both are about to commit the same rows, the first time to a table that is not there yet."""
    for number in range(1, rounds + 1):
        orders = Orders(place, format_, ORDERS * number)
        assert race(orders, 2) == [0, OVERTAKEN]
        orders.ends()
        assert orders.taken() == orders.published()
    assert orders.verify().outcome == "equal"
