"""Where a reader finds the table of a product, and which notices it believes."""

from pathlib import Path

import pytest
from tests.snapshot.lake import TOPIC as ORDERS
from tests.snapshot.test_announcing import Office

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.errors import ReadRefusedError, StartRefusedError
from headwater.ports import TopicSettings
from headwater.reader.place import table_place


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Orders whose table has two commits that are not announced."""
    return Office(tmp_path / "far" / ORDERS)


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """Where the reader's settings say, and nothing is."""
    return tmp_path / "near" / ORDERS


def found(office: Office, configured: Path | str) -> str:
    """Where a reader looks."""
    notices = (office.topics, office.registry, office.reader)
    return table_place(ORDERS, ORDERS, str(configured), notices=notices)


def test_a_table_is_found_where_its_last_notice_says(office: Office, configured: Path) -> None:
    """Before the first notice, where the settings say."""
    configured.mkdir(parents=True)
    assert found(office, configured) == str(configured)
    office.announce()
    assert found(office, configured) == str(office.lake.directory)


def test_a_place_on_another_machine_is_looked_for_where_the_settings_say(
    office: Office, configured: Path
) -> None:
    """A mounted copy of it; without one, both places are named."""
    office.announce()
    office.lake.directory.rename(office.lake.directory.with_name("away"))
    with pytest.raises(ReadRefusedError, match=r"far/shop\.orders, which is not") as caught:
        found(office, configured)
    assert caught.value.code == "NO_SNAPSHOT"
    assert str(configured) in str(caught.value)
    configured.mkdir(parents=True)
    assert found(office, configured) == str(configured)


def test_a_place_in_a_bucket_is_believed_on_any_machine(
    office: Office, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a table stands there, the bucket says when it is opened."""
    monkeypatch.setattr(DeltaSnapshotTable, "location", "s3://bucket/shop.orders")
    office.announce()
    assert found(office, configured) == "s3://bucket/shop.orders"


def test_a_directory_of_another_machine_is_looked_for_in_the_configured_bucket(
    office: Office,
) -> None:
    """Where nobody can look before the table is opened."""
    office.announce()
    office.lake.directory.rename(office.lake.directory.with_name("away"))
    assert found(office, "s3://bucket/shop.orders") == "s3://bucket/shop.orders"


@pytest.mark.parametrize("place", ["gs://bucket/shop.orders", "here/shop.orders"])
def test_a_place_that_cannot_be_read_here_is_refused_by_name(
    office: Office, configured: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A relative path would depend on where the reader was started."""
    monkeypatch.setattr(DeltaSnapshotTable, "location", place)
    office.announce()
    configured.mkdir(parents=True)
    with pytest.raises(ReadRefusedError, match=place) as caught:
        found(office, configured)
    assert caught.value.code == "NOTICE_PLACE"


def test_a_notice_of_a_deleted_topic_leads_nowhere(office: Office, configured: Path) -> None:
    """The topic of that name is another log, of which there is no snapshot yet."""
    office.announce()
    office.broker.create(TopicSettings(ORDERS, 3, "log", {"cleanup.policy": "delete"}))
    assert found(office, configured) == str(configured)


def test_a_notice_that_leads_to_another_products_table_is_no_way_to_read_it(
    office: Office, configured: Path
) -> None:
    """The table names product and topic itself, whatever a notice says of it."""
    office.announce()
    files = DirectoryFiles(Path(found(office, configured)))
    with pytest.raises(StartRefusedError) as caught:
        DeltaSnapshotTable(files, product="shop.payments", topic="shop.payments")
    assert caught.value.code == "NOT_OUR_TABLE"
