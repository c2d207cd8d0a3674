"""Object stores: what a bucket does beside the laws of checkpoints, and how it refuses."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from tests.adapters.object_server import ObjectServer

from headwater.adapters.directory import DirectoryStorage
from headwater.adapters.objects import ObjectStorage, opening, storage
from headwater.embedded.process import wait_until
from headwater.errors import RetriableError, StartRefusedError
from headwater.ports import CheckpointStorage

LONGEST_S = 60.0  # of a store on a crowded machine
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def objects(bucket: str, tmp_path: Path) -> ObjectStorage:
    """An empty prefix of a bucket."""
    return ObjectStorage(bucket, tmp_path / "workspace")


@pytest.fixture(params=["directory", "objects"])
def any_storage(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStorage:
    """Each kind, empty."""
    if request.param == "directory":
        return DirectoryStorage(tmp_path / "checkpoints")
    return ObjectStorage(request.getfixturevalue("bucket"), tmp_path / "workspace")


def put(storage: CheckpointStorage, name: str, content: bytes) -> None:
    """Put bytes under a name."""
    file = storage.workspace / "draft"
    file.write_bytes(content)
    storage.put(name, file)
    assert not file.exists()


def got(storage: CheckpointStorage, name: str) -> bytes:
    """The bytes under a name."""
    with storage.get(name) as file:
        return file.read()


def test_what_was_put_is_got_and_named(any_storage: CheckpointStorage) -> None:
    """Whole, under its name, in the order of names; another folder's are not told."""
    for name in ("a/3/2.parquet", "a/3/1.parquet", "a/33/1.parquet", "ab/3/1.parquet"):
        put(any_storage, name, name.encode())
    put(any_storage, "a/3/1.parquet", b"")
    assert any_storage.names("a/3/") == ["a/3/1.parquet", "a/3/2.parquet"]
    assert any_storage.names("a/3/2") == ["a/3/2.parquet"]
    assert any_storage.names("b/") == []
    assert len(any_storage.names("")) == 4
    assert [got(any_storage, f"a/3/{n}.parquet") for n in (1, 2)] == [b"", b"a/3/2.parquet"]


def test_what_is_not_there_is_told_and_deleted_alike(any_storage: CheckpointStorage) -> None:
    """No object is a KeyError; to delete it is nothing."""
    put(any_storage, "a/1", b"one")
    for _ in range(2):
        any_storage.delete("a/1")
    with pytest.raises(KeyError):
        any_storage.get("a/1")
    assert any_storage.names("a/") == []


def test_a_file_that_is_open_outlives_its_object(any_storage: CheckpointStorage) -> None:
    """Whoever writes a newer checkpoint deletes those that another may be loading."""
    put(any_storage, "a/1", b"one")
    with any_storage.get("a/1") as file:
        any_storage.delete("a/1")
        assert file.read() == b"one"
    any_storage.close()


def test_a_large_object_goes_in_parts(
    objects: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up and down, a last part that is small included; no local copy has a name."""
    monkeypatch.setattr(storage, "PART_BYTES", 5 << 20)
    content = os.urandom((11 << 20) + 17)
    put(objects, "a/1", content)
    with objects.get("a/1") as file:
        assert list(objects.workspace.iterdir()) == []
        assert file.read() == content


def test_a_process_that_ends_gives_up_what_is_under_way(
    objects: ObjectStorage, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is there under the name, no part stays in the store, and the file is still here."""
    monkeypatch.setattr(storage, "PART_BYTES", 5 << 20)
    file = objects.workspace / "draft"
    file.write_bytes(bytes(11 << 20))
    objects.close()
    with pytest.raises(RetriableError, match="is given up") as refused:
        objects.put("a/1", file)
    assert refused.value.code == "STATE_STORAGE"
    assert file.exists()
    assert objects.names("") == []
    bucket = urlsplit(objects.location).netloc
    assert "<UploadId>" not in object_server.ask("GET", f"/{bucket}?uploads")


def test_a_bucket_that_can_be_looked_into_is_accepted(objects: ObjectStorage) -> None:
    """Whether there is something in it or not."""
    objects.require()
    put(objects, "a/1", b"one")
    objects.require()


def test_a_bucket_that_is_not_there_is_refused_at_once(bucket: str, tmp_path: Path) -> None:
    """With its location and the store's own word."""
    with pytest.raises(StartRefusedError) as refused:
        ObjectStorage("s3://no-such-bucket/prefix", tmp_path).require()
    assert refused.value.code == "CHECKPOINT_STORE"
    assert str(refused.value) == (
        "checkpoints cannot be kept in s3://no-such-bucket/prefix: the store answers 404 Not Found "
        "(NoSuchBucket)"
    )


class Answers(BaseHTTPRequestHandler):
    """Answers with one status to everything, or not at all."""

    status: ClassVar[int | None]
    body = b"<Error><Code>Told</Code><Message>canary-0815</Message></Error>"

    def do_GET(self) -> None:
        if self.status is None:
            threading.Event().wait(1)
            return
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815  # the names of the methods

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as it is there
        pass


@contextmanager
def answering(status: int | None) -> Iterator[str]:
    """The address of a store that always answers so."""
    handler = type("Handler", (Answers,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few attempts, with credentials."""
    for name in KEYS:
        monkeypatch.setenv(name, "canary-4711")
    monkeypatch.setattr(opening, "RETRIES", 1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("status", "told", "is_definite"),
    [
        (403, "the store answers 403 Forbidden (Told)", True),
        (401, "the store answers 401 Unauthorized (Told)", True),
        (301, "the bucket is in another region: set AWS_REGION", True),
        (429, "the store answers 429 Too Many Requests (Told)", False),
        (503, "the store answers 503 Service Unavailable (Told)", False),
        (500, "the store answers 500 Internal Server Error (Told)", False),
        (None, "the store does not answer in time", False),
    ],
)
def test_what_is_definite_is_refused_at_the_start_and_what_may_pass_is_not(
    status: int | None,
    told: str,
    is_definite: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call says why in either case; what the store writes beside its code is not repeated."""
    if status is None:
        monkeypatch.setattr(opening, "REQUEST_S", 0.2)
    with answering(status) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        refusing = ObjectStorage("s3://some-bucket", tmp_path)
        if is_definite:
            with pytest.raises(StartRefusedError) as refused:
                refusing.require()
            assert str(refused.value).endswith(f"s3://some-bucket: {told}")
            assert refused.value.code == "CHECKPOINT_STORE"
        else:
            refusing.require()
        (tmp_path / "draft").write_bytes(b"one")
        for call in (
            lambda: refusing.names("a/"),
            lambda: refusing.put("a/1", tmp_path / "draft"),
        ):
            with pytest.raises(RetriableError) as failed:
                call()
            assert str(failed.value) == f"s3://some-bucket refuses: {told}."
            assert failed.value.code == "STATE_STORAGE"


@pytest.mark.usefixtures("impatient")
def test_a_store_that_cannot_be_reached_may_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens there: the start goes on."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    refusing = ObjectStorage("s3://some-bucket", tmp_path)
    refusing.require()
    with pytest.raises(RetriableError, match=r"refuses: the store cannot be reached\."):
        refusing.names("")


def test_missing_credentials_are_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the environment nor of the machine."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(opening, "RETRIES", 0)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(StartRefusedError, match="there are no credentials: set AWS_ACCESS_KEY_ID"):
        ObjectStorage("s3://some-bucket", tmp_path).require()


@pytest.mark.parametrize("address", ["localhost:9000", "not an address", "http://", "http://a:b"])
def test_an_endpoint_that_is_no_address_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name of its variable."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(
        StartRefusedError, match="AWS_ENDPOINT_URL is no address such as"
    ) as refused:
        ObjectStorage("s3://some-bucket", tmp_path)
    assert refused.value.code == "CHECKPOINT_STORE"


def names(storage: ObjectStorage) -> list[str] | None:
    """All of them; None when the store did not answer in its short time, as a crowded one may."""
    try:
        return storage.names("")
    except RetriableError:
        return None


def test_a_store_that_hangs_is_given_up_in_time(
    bucket: str, object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and says nothing; when it goes on, so do we."""
    usual_s = opening.REQUEST_S
    monkeypatch.setattr(opening, "REQUEST_S", 0.3)
    monkeypatch.setattr(opening, "RETRY_S", 0.3)
    hanging = ObjectStorage(bucket, tmp_path)
    object_server.process.send_signal(signal.SIGSTOP)
    began_s = time.monotonic()
    try:
        with pytest.raises(RetriableError, match="does not answer in time"):
            hanging.names("")
    finally:
        object_server.process.send_signal(signal.SIGCONT)
    assert time.monotonic() - began_s < usual_s  # which one attempt alone would take
    assert wait_until(lambda: names(hanging) == [], LONGEST_S)


def test_a_directory_needs_no_library_of_object_stores() -> None:
    """A start without one does not pay for it."""
    program = (
        "import sys; import headwater.assembly.running; "
        "print([each for each in sys.modules if each.startswith('obstore')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
