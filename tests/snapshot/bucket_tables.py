"""A table in a bucket, of each format, and what tests ask of its files."""

from collections.abc import Callable

import pytest
from tests.snapshot.changes import change
from tests.snapshot.formats import IN_BUCKETS, catalogue_of, in_bucket
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.objects.files import BucketFiles
from headwater.adapters.tables.upkeep import is_data
from headwater.ports import Table

Opener = Callable[[], Table]


@pytest.fixture
def place(bucket: str) -> BucketFiles:
    """The files of a table that is not there yet."""
    return BucketFiles(bucket)


@pytest.fixture(params=IN_BUCKETS)
def opened(request: pytest.FixtureRequest, bucket: str) -> Opener:
    """Opens one more handle on the same table, as another process does."""
    url = catalogue_of(request)
    return lambda: in_bucket(request.param, bucket, TOPIC, url)


def commit(table: Table, start: int, end: int) -> int:
    """Take so many rows."""
    table.offsets("one")
    return table.commit(change(rows(start, end), record(start, end)))


def data(place: BucketFiles) -> set[str]:
    """Names of all data files, those without a commit included."""
    return {each.name for each in place.listed() if is_data(each)}


def named(table: Table) -> set[str]:
    """Names of the files of the newest version."""
    return {each.name for each in table.files()}
