"""A catalogue in Postgres that all Iceberg tables of a project share."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy.exc import OperationalError
from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, parquet_files, record, rows

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg.catalogue import open_catalogue
from headwater.adapters.iceberg.table import IcebergSnapshotTable
from headwater.adapters.objects.files import BucketFiles
from headwater.errors import OvertakenError, RetriableError, StartRefusedError
from headwater.redaction import users_of

SECRET = "canary"
WRITERS = 4  # more than cores, so that some are held between their look and their commit


def opened(directory: Path, url: str, topic: str = TOPIC) -> IcebergSnapshotTable:
    """A new handle."""
    return IcebergSnapshotTable(
        DirectoryFiles(directory), product=topic, topic=topic, catalogue=url
    )


def test_engines_find_the_table_in_the_catalogue(tmp_path: Path, catalogue_url: str) -> None:
    """Any client of a SQL catalogue, by the topic's name, without a path."""
    opened(tmp_path / "orders", catalogue_url).commit(change(rows(0, 10), record(0, 10)))
    opened(tmp_path / "returns", catalogue_url, "shop.returns").commit(
        change(rows(0, 5), record(0, 5))
    )
    uri = catalogue_url.replace("postgresql:", "postgresql+psycopg:")
    catalogue = SqlCatalog("headwater", uri=uri)
    try:
        assert sorted(catalogue.list_tables("shop")) == [("shop", "orders"), ("shop", "returns")]
        assert catalogue.load_table("shop.orders").scan().to_arrow().num_rows == 10
    finally:
        catalogue.engine.dispose()
    assert not list(tmp_path.rglob("*.db"))


def test_of_many_writers_of_one_cut_one_wins(tmp_path: Path, catalogue_url: str) -> None:
    """The catalogue's row is the compare-and-swap."""
    opened(tmp_path, catalogue_url).commit(change(rows(0, 10), record(0, 10)))
    handles = [opened(tmp_path, catalogue_url) for _ in range(WRITERS)]
    together = Barrier(WRITERS)

    def write(table: IcebergSnapshotTable) -> bool:
        table.offsets("one")
        together.wait()
        try:
            table.commit(change(rows(10, 20), record(10, 20)))
        except OvertakenError:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(write, handles))
    assert won.count(True) == 1
    assert opened(tmp_path, catalogue_url).rows() == 20
    assert len(parquet_files(tmp_path)) == 2


def test_a_table_in_another_directory_is_not_begun_again(
    tmp_path: Path, catalogue_url: str
) -> None:
    """The catalogue has one table of a topic; a second one would take its name."""
    opened(tmp_path / "one", catalogue_url).commit(change(rows(0, 10), record(0, 10)))
    with pytest.raises(StartRefusedError, match=str(tmp_path / "one")) as refused:
        opened(tmp_path / "two", catalogue_url)
    assert refused.value.code == "NOT_OUR_TABLE"
    assert not (tmp_path / "two").exists()


def test_tables_of_one_catalogue_are_never_mixed_up(tmp_path: Path, catalogue_url: str) -> None:
    """All of a process share one, which remembers the metadata of its last look."""
    catalogue = open_catalogue(DirectoryFiles(tmp_path), catalogue_url)

    def write(topic: str) -> None:
        table = opened(tmp_path / topic, catalogue_url, topic)
        for start in range(0, 50, 10):
            table.offsets("one")
            table.commit(change(rows(start, start + 10), record(start, start + 10)))

    topics = [f"shop.t{place}" for place in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, topics))
    for topic in topics * 2:
        table = opened(tmp_path / topic, catalogue_url, topic)
        assert table.rows() == 50
        assert len(table.commits()) == 5
        assert catalogue.load_table(topic).name() == tuple(topic.split("."))
    catalogue.rename_table(topics[-1], "shop.renamed")
    assert catalogue.load_table("shop.renamed").name() == ("shop", "renamed")


def test_a_crash_in_the_creation_leaves_a_table_that_goes_on(
    tmp_path: Path, catalogue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders and metadata that no catalogue knows are no table."""

    def crash(*_given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "_create_table_row", crash)
        with pytest.raises(KeyboardInterrupt):
            opened(tmp_path, catalogue_url).commit(change(rows(0, 10), record(0, 10)))
    assert list(tmp_path.rglob("*.metadata.json"))
    opened(tmp_path, catalogue_url).commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path, catalogue_url).rows() == 10


def test_a_commit_whose_answer_is_lost_is_recognised(
    tmp_path: Path, catalogue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server did it, and the connection broke."""
    table = opened(tmp_path, catalogue_url)
    table.commit(change(rows(0, 10), record(0, 10)))
    table.offsets("one")
    commit = SqlCatalog.commit_table

    def lost(self: SqlCatalog, *given: object) -> None:
        commit(self, *given)  # type: ignore[arg-type]  # passed on as they came
        raise OperationalError("COMMIT", None, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "commit_table", lost)
        table.commit(change(rows(10, 20), record(10, 20)))
    assert opened(tmp_path, catalogue_url).rows() == 20


@pytest.mark.parametrize("url", ["postgresql://me:canary@127.0.0.1:9/db"])
def test_a_server_that_is_away_is_one_sentence_without_secrets(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the log learns where, and no password."""
    with caplog.at_level(logging.DEBUG), pytest.raises(RetriableError) as refused:
        opened(tmp_path / "orders", url)
    assert refused.value.code == "SNAPSHOT_STORAGE"
    text = str(refused.value)
    assert len(text.splitlines()) == 1
    assert "refused" in text
    assert SECRET not in text + caplog.text


def test_every_call_has_a_bound(tmp_path: Path, catalogue_url: str) -> None:
    """Also what waits for a lock of somebody else."""
    engine = open_catalogue(DirectoryFiles(tmp_path), catalogue_url).engine
    assert engine.url.query["connect_timeout"] == "10"
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SHOW statement_timeout").scalar()
    assert found == "10s"


def test_secrets_of_a_url_are_known_as_written_and_as_meant(catalogue_url: str) -> None:
    """Drivers may quote either."""
    assert {"canary%21pass", "canary!pass"} <= users_of(catalogue_url)


def test_a_bucket_has_no_catalogue_of_its_own(bucket: str) -> None:
    """Whoever opens tables refuses that in a sentence; a folder named as the bucket is no way."""
    with pytest.raises(ValueError, match="no catalogue of its own"):
        open_catalogue(BucketFiles(bucket))
