"""What tables in a bucket do beside the laws of tables: lost replies, refusals, races."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import obstore
import pyarrow as pa
import pytest
from obstore.exceptions import GenericError
from tests.adapters.object_server import ObjectServer
from tests.snapshot.bucket_tables import Opener, commit, data, named, opened, place
from tests.snapshot.changes import change
from tests.snapshot.formats import BY_PUTS, in_bucket
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.objects import files, opening
from headwater.adapters.objects.files import BucketFiles
from headwater.errors import DamagedError, OvertakenError, RetriableError, StartRefusedError
from headwater.ports import Table

__all__ = ["opened", "place"]


@pytest.fixture(params=BY_PUTS)
def putting(request: pytest.FixtureRequest, bucket: str) -> Opener:
    """Opens handles on a table of a format whose commit is a conditional put."""
    return lambda: in_bucket(request.param, bucket, TOPIC)


@contextmanager
def puts(
    patch: pytest.MonkeyPatch, answer: Callable[[Callable[[], Any]], Any]
) -> Iterator[list[str]]:
    """Answer each conditional put, which is made when it is called; the list is told of them."""
    told: list[str] = []
    put = obstore.put

    def answered(store: Any, name: str, content: Any, **named: Any) -> Any:
        if named.get("mode") != "create":
            return put(store, name, content, **named)
        told.append(name)
        return answer(lambda: put(store, name, content, **named))

    with patch.context() as inner:
        inner.setattr(obstore, "put", answered)
        yield told


def lost(put: Callable[[], Any]) -> Any:
    """It happens, and nobody hears of it."""
    put()
    raise GenericError("operation timed out (kind: Timeout)")


def sent_again(put: Callable[[], Any]) -> Any:
    """It happens, its answer is lost, and the next attempt finds it there."""
    put()
    return put()


def refused(_put: Callable[[], Any]) -> Any:
    """It does not happen."""
    raise GenericError(
        "Server returned non-2xx status code: 403 Forbidden: <Code>AccessDenied</Code>"
    )


@pytest.mark.parametrize("answer", [lost, sent_again])
def test_a_lost_reply_to_a_commit_is_resolved_by_what_stands_there(
    putting: Opener, place: BucketFiles, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """It is told as done, and taken once."""
    table = putting()
    first = commit(table, 0, 2)
    table.offsets("one")
    with puts(monkeypatch, answer) as told:
        assert table.commit(change(rows(2, 4), record(2, 4))) == first + 1
    assert len(told) == 1
    assert putting().offsets("one") == {0: 4}
    assert data(place) == named(putting())
    assert putting().rows() == 4


def test_a_refused_put_leaves_everything_as_before(
    putting: Opener, place: BucketFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No snapshot is visible, the reason is told, and the next attempt takes the range."""
    table = putting()
    commit(table, 0, 2)
    before = named(putting())
    with puts(monkeypatch, refused), pytest.raises(RetriableError) as failed:
        commit(table, 2, 4)
    assert failed.value.code == "SNAPSHOT_STORAGE"
    assert "403 Forbidden (AccessDenied)" in str(failed.value)
    assert named(putting()) == before
    assert putting().offsets("one") == {0: 2}
    commit(putting(), 2, 4)
    assert putting().rows() == 4


def test_files_stay_while_a_put_may_still_happen(
    putting: Opener, place: BucketFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may carry out later what it did not answer: then its rows must be there."""
    table, late = putting(), []
    commit(table, 0, 2)

    def delayed(put: Callable[[], Any]) -> Any:
        late.append(put)
        raise GenericError("operation timed out (kind: Timeout)")

    with puts(monkeypatch, delayed), pytest.raises(RetriableError):
        commit(table, 2, 4)
    late[0]()
    again = putting()
    assert again.offsets("one") == {0: 4}
    assert [b.num_rows for name in sorted(named(again)) for b in again.scan(name)] == [2, 2]


def test_who_loses_leaves_no_file(opened: Opener, place: BucketFiles) -> None:
    """What was refused for good cannot happen any more."""
    one, other = opened(), opened()
    one.offsets("one")
    other.offsets("one")
    one.commit(change(rows(0, 2), record(0, 2)))
    with pytest.raises(OvertakenError):
        other.commit(change(rows(0, 2), record(0, 2)))
    assert data(place) == named(opened())


def race(opened: Opener, start: int) -> list[str]:
    """What became of four who take the same range at once."""
    tables = [opened() for _ in range(4)]
    for each in tables:
        each.offsets("one")
    outcomes: list[str] = []

    def take(table: Table) -> None:
        try:
            table.commit(change(rows(start, start + 2), record(start, start + 2)))
            outcomes.append("won")
        except OvertakenError:
            outcomes.append("lost")

    at_once([partial(take, each) for each in tables])
    return outcomes


def at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Make calls together."""
    begun = threading.Barrier(len(calls))

    def begin(call: Callable[[], None]) -> None:
        begun.wait()
        call()

    threads = [threading.Thread(target=begin, args=(call,)) for call in calls]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def test_of_racing_writers_one_wins(opened: Opener, place: BucketFiles) -> None:
    """Of the first commit too: the store's conditional put decides, and no row is there twice."""
    for start in (0, 2):
        assert sorted(race(opened, start)) == ["lost", "lost", "lost", "won"]
    assert opened().rows() == 4
    assert data(place) == named(opened())


def test_a_name_is_put_once(place: BucketFiles) -> None:
    """The server keeps If-None-Match: of many who put at once, one is told so."""
    outcomes: list[tuple[bool, int]] = []

    def put(number: int) -> None:
        mine = BucketFiles(place.location)
        outcomes.append((mine.put_if_absent("entry", f"{number}".encode()), number))

    at_once([partial(put, number) for number in range(8)])
    (winner,) = [number for is_won, number in outcomes if is_won]
    assert place.read("entry") == f"{winner}".encode()


def test_a_commit_needs_no_listing_to_be_right(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is shown an older list of the manifests is told that another cut was first."""
    kind = "parquet in a bucket"
    commit(in_bucket(kind, bucket, TOPIC), 0, 2)
    stale = list(BucketFiles(bucket).listed())
    commit(in_bucket(kind, bucket, TOPIC), 2, 4)
    monkeypatch.setattr(
        BucketFiles,
        "listed",
        lambda _self, folder="": iter([e for e in stale if e.name.startswith(folder)]),
    )
    late = in_bucket(kind, bucket, TOPIC)
    with pytest.raises(OvertakenError):
        late.commit(change(rows(2, 4), record(2, 4)))


def test_a_store_that_is_away_is_never_told_as_damage(
    opened: Opener, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, columns, history: nobody is sent to restore what is whole."""
    monkeypatch.setattr(opening, "RETRIES", 0)
    table = opened()
    commit(table, 0, 2)
    (name,) = named(table)
    version = table.version()
    assert version is not None
    rows_of = table.dataset(version)
    away = "http://127.0.0.1:1"
    for each in opening.ENDPOINTS:
        monkeypatch.setenv(each, away)
    for ask in (opened, lambda: list(opened().scan(name))):
        with pytest.raises(RetriableError) as failed:
            ask()
        assert failed.value.code == "SNAPSHOT_STORAGE"
        assert "the store cannot be reached" in str(failed.value)
    assert rows_of.count_rows() == 2  # it keeps the way it was opened with


@pytest.mark.parametrize("answers", [0, 1], ids=["held to their digest", "parsed"])
def test_a_store_that_fails_while_rows_are_read_is_never_told_as_damage(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    """We ask for them, then Arrow's threads; what these are told comes through as it is."""
    commit(opened(), 0, 20)
    table = opened()
    (name,) = named(table)

    get_range, left = obstore.get_range, [None] * answers

    def failing(*given: Any, **named: Any) -> Any:
        if left:
            left.pop()
            return get_range(*given, **named)
        raise GenericError("Server returned non-2xx status code: 503 Service Unavailable")

    monkeypatch.setattr(obstore, "get_range", failing)
    with pytest.raises(RetriableError, match="the store answers 503 Service Unavailable") as failed:
        list(table.scan(name))
    assert failed.value.code == "SNAPSHOT_STORAGE"


@pytest.mark.parametrize("flipped", [40, -20], ids=["rows", "footer"])
def test_a_bit_that_rots_in_a_bucket_is_damage(
    opened: Opener, place: BucketFiles, flipped: int
) -> None:
    """Where the store gives other bytes than were put, they are no rows."""
    commit(opened(), 0, 20)
    (name,) = data(place)
    content = bytearray(place.read(name))
    content[flipped] ^= 1
    place.put(name, bytes(content))
    with pytest.raises(DamagedError) as damaged:
        list(opened().scan(name))
    assert damaged.value.code != "FILE_GONE"
    place.delete(name)
    with pytest.raises(DamagedError) as gone:
        list(opened().scan(name))
    assert gone.value.code == "FILE_GONE"


def test_a_large_file_is_written_in_parts(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """And read by ranges: the same rows come back, to readers of datasets too."""
    monkeypatch.setattr(files, "PART_BYTES", 5 << 20)
    texts = pa.array([os.urandom(60_000).hex() for _ in range(100)])
    taken = rows(0, 100).set_column(0, "id", texts)
    table = opened()
    version = table.commit(change(taken, record(0, 100)))
    (file,) = table.files()
    assert (file.size or 0) > 5 << 20
    assert opened().dataset(version).to_table()["id"].combine_chunks().equals(texts)
    found = pa.Table.from_batches([*opened().scan(file.name)])
    assert found["id"].combine_chunks().equals(texts)


def test_a_bucket_that_is_not_there_is_one_sentence(bucket: str) -> None:
    """The store's own name of the reason, and no table is taken for a new one."""
    other = bucket.replace("bucket-", "nobody-")
    for kind in BY_PUTS:
        with pytest.raises(RetriableError, match=r"404 Not Found \(NoSuchBucket\)") as refused_:
            in_bucket(kind, other, TOPIC)
        assert refused_.value.code == "SNAPSHOT_STORAGE"


def test_what_is_no_table_is_let_alone(opened: Opener, place: BucketFiles) -> None:
    """A prefix with other objects is another's."""
    place.put("notes/today.txt", b"x")
    with pytest.raises(StartRefusedError, match="The prefix s3://") as caught:
        opened()
    assert caught.value.code == "NOT_OUR_TABLE"


def test_an_endpoint_that_is_no_address_is_refused_for_snapshots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the name of its variable."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(StartRefusedError, match="AWS_ENDPOINT_URL is no address") as caught:
        BucketFiles("s3://some-bucket/here")
    assert caught.value.code == "SNAPSHOT_STORAGE"
