"""What a table of Iceberg in a bucket does beside the laws of tables: two services may be away."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pyarrow.parquet as pq
import pytest
from obstore.exceptions import GenericError
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy.exc import OperationalError
from tests.adapters.object_server import ObjectServer
from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg.table import IcebergSnapshotTable
from headwater.adapters.objects.files import BucketFiles
from headwater.adapters.tables.files import TableFiles
from headwater.adapters.tables.upkeep import is_data
from headwater.errors import DamagedError, RetriableError, StartRefusedError, UnverifiableError

Opener = Callable[[], IcebergSnapshotTable]


@pytest.fixture
def opened(bucket: str, catalogue_url: str) -> Opener:
    """Opens one more handle on the same table, as another process does."""
    return lambda: at(BucketFiles(bucket), catalogue_url)


def at(files: TableFiles, url: str) -> IcebergSnapshotTable:
    """A handle on the table in a place."""
    return IcebergSnapshotTable(files, product=TOPIC, topic=TOPIC, catalogue=url)


def commit(table: IcebergSnapshotTable, start: int, end: int) -> int:
    """Take so many rows."""
    table.offsets("one")
    return table.commit(change(rows(start, end), record(start, end)))


def data(bucket: str) -> set[str]:
    """Names of all data files, those without a commit included."""
    return {each.name for each in BucketFiles(bucket).listed() if is_data(each)}


def named(table: IcebergSnapshotTable) -> set[str]:
    """Names of the files of the newest version."""
    return {each.name for each in table.files()}


def unanswered(patch: pytest.MonkeyPatch, commits: Callable[[Callable[[], Any]], Any]) -> None:
    """The catalogue's connection breaks in a commit, which is made when it is called."""
    commit_table = SqlCatalog.commit_table

    def broken(self: SqlCatalog, *given: Any) -> None:
        commits(lambda: commit_table(self, *given))
        raise OperationalError("COMMIT", None, Exception("server closed the connection"))

    patch.setattr(SqlCatalog, "commit_table", broken)


@pytest.fixture
def engine(catalogue_url: str, object_server: ObjectServer) -> Iterator[SqlCatalog]:
    """The catalogue as an engine of somebody else has it, with means of its own."""
    properties = {
        "uri": catalogue_url.replace("postgresql:", "postgresql+psycopg:"),
        "s3.endpoint": object_server.address,
        "s3.access-key-id": "test",
        "s3.secret-access-key": "canary-4711",
        "s3.region": "us-east-1",
    }
    catalogue = SqlCatalog("headwater", **properties)
    yield catalogue
    catalogue.engine.dispose()


def test_engines_read_it_with_their_own_means(
    opened: Opener, bucket: str, engine: SqlCatalog
) -> None:
    """The metadata names objects as everybody does; a file system of Arrow's finds them."""
    commit(opened(), 0, 10)
    commit(opened(), 10, 15)
    table = engine.load_table(TOPIC)
    assert table.location() == bucket
    assert sorted(table.scan().to_arrow()["_offset"].to_pylist()) == list(range(15))


def test_rows_that_an_engine_adds_are_read(opened: Opener, engine: SqlCatalog) -> None:
    """Its files stand below the same prefix."""
    commit(opened(), 0, 10)
    table = engine.load_table(TOPIC)
    table.append(rows(10, 12).cast(table.scan().to_arrow().schema))
    again = opened()
    assert again.offsets("one") == {0: 10}
    version = again.version()
    assert version is not None
    assert again.dataset(version).count_rows() == again.rows() == 12
    commit(opened(), 10, 12)
    assert opened().rows() == 14


def test_a_lost_answer_of_the_catalogue_is_resolved_by_what_it_says(
    opened: Opener, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as done, and taken once."""
    table = opened()
    first = commit(table, 0, 2)
    with monkeypatch.context() as patch:
        unanswered(patch, lambda do: do())
        assert commit(table, 2, 4) == first + 1
    assert opened().offsets("one") == {0: 4}
    assert data(bucket) == named(opened())


def test_files_stay_while_the_catalogue_may_still_commit(
    opened: Opener, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may carry out later what it did not answer: then its rows must be there."""
    late: list[Callable[[], Any]] = []
    table = opened()
    commit(table, 0, 2)
    with monkeypatch.context() as patch:
        unanswered(patch, late.append)
        with pytest.raises(RetriableError) as failed:
            commit(table, 2, 4)
    assert failed.value.code == "SNAPSHOT_STORAGE"
    assert opened().offsets("one") == {0: 2}
    late[0]()
    again = opened()
    assert again.offsets("one") == {0: 4}
    assert [b.num_rows for name in sorted(named(again)) for b in again.scan(name)] == [2, 2]
    assert data(bucket) == named(again)


@pytest.mark.parametrize("ending", [".avro", ".metadata.json"])
def test_metadata_that_is_refused_leaves_everything_as_before(
    opened: Opener, bucket: str, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """No snapshot is visible, no file of data is left, and the next attempt takes the range."""
    table, put = opened(), obstore.put
    commit(table, 0, 2)
    before = named(opened())

    def refused(store: Any, name: str, *given: Any, **more: Any) -> Any:
        if name.endswith(ending):
            raise GenericError(
                "Server returned non-2xx status code: 403 Forbidden: <Code>AccessDenied</Code>"
            )
        return put(store, name, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", refused)
        with pytest.raises(RetriableError, match=r"403 Forbidden \(AccessDenied\)") as failed:
            commit(table, 2, 4)
    assert failed.value.code == "SNAPSHOT_STORAGE"
    assert data(bucket) == named(opened()) == before
    commit(opened(), 2, 4)
    assert opened().rows() == 4


def test_a_bucket_that_is_not_there_is_one_sentence(bucket: str, catalogue_url: str) -> None:
    """The store's own name of the reason, and no table is taken for a new one."""
    place = BucketFiles(bucket.replace("bucket-", "nobody-"))
    with pytest.raises(RetriableError, match=r"404 Not Found \(NoSuchBucket\)") as refused:
        at(place, catalogue_url)
    assert refused.value.code == "SNAPSHOT_STORAGE"


def test_a_catalogue_that_is_away_is_one_sentence(bucket: str) -> None:
    """What it is that cannot be reached, and no password."""
    with pytest.raises(RetriableError) as refused:
        at(BucketFiles(bucket), "postgresql://me:canary@127.0.0.1:9/db")
    assert refused.value.code == "SNAPSHOT_STORAGE"
    assert bucket in str(refused.value)
    assert "canary" not in str(refused.value)


def test_metadata_that_is_gone_is_damage(opened: Opener, bucket: str) -> None:
    """The store answers that there is no such object."""
    commit(opened(), 0, 2)
    place = BucketFiles(bucket)
    for each in list(place.listed("metadata")):
        place.delete(each.name)
    with pytest.raises(DamagedError, match="a file of its metadata is gone"):
        opened()


def test_a_table_in_another_place_is_not_begun_again(
    opened: Opener, bucket: str, catalogue_url: str, tmp_path: Path
) -> None:
    """From a bucket to a directory, to another prefix, and back: the catalogue names the place."""
    commit(opened(), 0, 2)
    for other in (DirectoryFiles(tmp_path / "orders"), BucketFiles(f"{bucket}-moved")):
        with pytest.raises(StartRefusedError, match=bucket) as refused:
            at(other, catalogue_url)
        assert refused.value.code == "NOT_OUR_TABLE"
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_moved_into_a_bucket_is_named_where_it_was(
    bucket: str, catalogue_url: str, tmp_path: Path
) -> None:
    """Its setting was changed, its catalogue was not."""
    commit(at(DirectoryFiles(tmp_path), catalogue_url), 0, 2)
    with pytest.raises(StartRefusedError, match=f"in {tmp_path}, not in {bucket}") as refused:
        at(BucketFiles(bucket), catalogue_url)
    assert refused.value.code == "NOT_OUR_TABLE"


def test_files_in_other_places_are_not_read(
    opened: Opener, bucket: str, engine: SqlCatalog
) -> None:
    """Another writer may add them; what we ask the store for is below the table's own prefix."""
    commit(opened(), 0, 2)
    table, content = engine.load_table(TOPIC), io.BytesIO()
    pq.write_table(rows(2, 4).cast(table.schema().as_arrow()), content)
    BucketFiles(f"{bucket}-else").put("part.parquet", content.getvalue())
    table.add_files([f"{bucket}-else/part.parquet"])
    with pytest.raises(UnverifiableError, match="files in other places than its own"):
        opened().files()
