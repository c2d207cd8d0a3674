"""Checkpoints: a load and the changelog from the mark on give the very state, or there is none."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.state.stores import KINDS, mark

from headwater.adapters.directory import DirectoryStorage
from headwater.adapters.objects import ObjectStorage
from headwater.errors import RebuildError, RetriableError
from headwater.ports import CheckpointStorage, LocalStore
from headwater.state import Checkpoint, CheckpointWriter, Unusable, checkpoint, checkpoints


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several slices of a few entries."""
    monkeypatch.setattr(checkpoint, "SLICE_ROWS", 100)


@pytest.fixture(params=["directory", "objects"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStorage:
    """An empty directory, or an empty prefix of a bucket."""
    if request.param == "directory":
        return DirectoryStorage(tmp_path / "checkpoints")
    return ObjectStorage(request.getfixturevalue("bucket"), tmp_path / "workspace")


@pytest.fixture(params=KINDS)
def stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[LocalStore, LocalStore]]:
    """One store to write from, an empty one to load into."""
    made = KINDS[request.param](tmp_path / "state")
    opened = made.open(0), made.open(1)
    yield opened
    for each in opened:
        each.close()


@pytest.fixture
def store() -> Iterator[LocalStore]:
    """A store of 250 entries."""
    opened = KINDS["memory"](Path()).open(0)
    fill(opened, 250)
    yield opened
    opened.close()


def fill(store: LocalStore, entries: int, value: bytes = b"\0value") -> None:
    """Entries of ascending keys, the first of them empty."""
    keys = [b"%05d" % n if n else b"" for n in range(entries)]
    store.write(keys, [value] * entries, mark(entries))


def written(storage: CheckpointStorage, store: LocalStore, offset: int) -> None:
    """A checkpoint with the mark of an offset."""
    writer = CheckpointWriter(storage, "product/step", 3, store, mark(offset))
    while not writer.advance():
        pass
    writer.finish()


def newest(storage: CheckpointStorage, task: int = 3) -> Checkpoint | None:
    """The newest checkpoint that can be used."""
    found = checkpoints(storage, "product/step", task)
    return next((each for each in found if isinstance(each, Checkpoint)), None)


def names(storage: CheckpointStorage) -> list[str]:
    """The names of the checkpoints, oldest first."""
    return storage.names("product/step/3/")


def overwrite(storage: CheckpointStorage, name: str, content: bytes) -> None:
    """Put other bytes under a name."""
    file = storage.workspace / "other"
    file.write_bytes(content)
    storage.put(name, file)


@pytest.mark.parametrize("entries", [0, 1, 100, 250])
def test_a_loaded_store_is_the_one_that_was_written(
    stores: tuple[LocalStore, LocalStore], storage: CheckpointStorage, entries: int
) -> None:
    """Every entry and the mark, for full and empty last slices and an empty store."""
    source, target = stores
    fill(source, entries)
    written(storage, source, 7)
    found = newest(storage)
    assert found is not None
    assert sum(map(len, found.load(target))) == entries
    assert target.scan(b"", 1_000) == source.scan(b"", 1_000)
    assert target.mark() == mark(7)


def test_names_as_long_as_topics_may_be_have_checkpoints(
    storage: CheckpointStorage, store: LocalStore
) -> None:
    """Names of parts fit their directories each, and drafts, which have all in one, fit theirs."""
    longest = f"{'p' * 229}/latest-1/{'i' * 22}"  # its changelog has a name of 249 characters
    writers = [
        CheckpointWriter(storage, f"{longest}{other}", 3, store, mark(7)) for other in ("", "j")
    ]
    for writer in writers:
        while not writer.advance():
            pass
        writer.finish()
    assert [len(storage.names(f"{longest}{other}/")) for other in ("", "j")] == [1, 1]
    assert not list(storage.workspace.iterdir())


def test_what_changes_while_it_is_written_is_in_the_changelog_again(
    stores: tuple[LocalStore, LocalStore], storage: CheckpointStorage
) -> None:
    """Between two slices entries change behind and before the cursor; the tail puts it right."""
    source, target = stores
    fill(source, 250)
    writer = CheckpointWriter(storage, "product/step", 3, source, mark(250))
    assert not writer.advance()
    tail = {b"00005": b"new", b"00050": None, b"00150": b"new", b"00151": None, b"00160+": b"new"}
    source.write(list(tail), list(tail.values()), mark(255))
    while not writer.advance():
        pass
    writer.finish()
    found = newest(storage)
    assert found is not None
    assert found.mark == mark(250)
    deque(found.load(target), 0)
    target.write(list(tail), list(tail.values()), mark(255))
    assert target.scan(b"", 1_000) == source.scan(b"", 1_000)


def test_the_newest_is_taken_and_two_are_kept(
    storage: CheckpointStorage, store: LocalStore
) -> None:
    """By the offset as a number; of another task or step none is seen."""
    for offset in (9, 10, 100):
        written(storage, store, offset)
    found = newest(storage)
    assert found is not None
    assert found.mark == mark(100)
    found.close()
    assert len(names(storage)) == 2
    assert newest(storage, 33) is None
    assert list(checkpoints(storage, "product/ste", 3)) == []


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
def test_a_damaged_checkpoint_is_passed_over(
    storage: CheckpointStorage, store: LocalStore, place: float
) -> None:
    """Wherever the byte is: in the entries, the mark or the footer. The one before it is taken."""
    written(storage, store, 10)
    written(storage, store, 20)
    with storage.get(names(storage)[-1]) as file:
        content = bytearray(file.read())
    content[int(place * len(content))] ^= 1
    overwrite(storage, names(storage)[-1], bytes(content))
    found = newest(storage)
    assert found is not None
    assert found.mark == mark(10)
    found.close()
    overwrite(storage, names(storage)[0], b"")
    assert newest(storage) is None


def test_a_checkpoint_that_is_not_finished_is_not_there(
    storage: CheckpointStorage, store: LocalStore
) -> None:
    """Neither before the last slice nor after it was abandoned, and no file stays."""
    writer = CheckpointWriter(storage, "product/step", 3, store, mark(250))
    writer.advance()
    assert newest(storage) is None
    writer.abandon()
    assert list(storage.workspace.iterdir()) == []


def test_a_store_that_fails_abandons_the_checkpoint(
    storage: CheckpointStorage, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the store raised is raised, and nothing is left behind."""

    def damaged(start: bytes, limit: int) -> tuple[list[bytes], list[bytes]]:
        message = "damaged"
        raise RebuildError(message, task=3)

    writer = CheckpointWriter(storage, "product/step", 3, store, mark(250))
    writer.advance()
    monkeypatch.setattr(store, "scan", damaged)
    with pytest.raises(RebuildError):
        writer.advance()
    assert list(storage.workspace.iterdir()) == []
    assert names(storage) == []


def test_a_load_that_is_cut_off_leaves_no_mark(
    storage: CheckpointStorage, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is not taken for whole when it is opened again."""
    written(storage, store, 10)
    found = newest(storage)
    assert found is not None
    target = KINDS["memory"](Path()).open(0)
    write, calls = target.write, []

    def interrupted(*args: object) -> None:
        calls.append(args)
        if len(calls) > 2:
            message = "full"
            raise RetriableError(message, code="STATE_STORAGE")
        write(*args)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(target, "write", interrupted)
    with pytest.raises(RetriableError):
        deque(found.load(target), 0)
    assert (len(target.scan(b"", 1_000)[0]), target.mark()) == (200, None)


def test_a_checkpoint_of_a_later_release_is_passed_over(
    storage: CheckpointStorage, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before it is taken, or the changelog is read; the reason is told."""
    written(storage, store, 5)
    monkeypatch.setattr("headwater.state.marks.FORMAT", 2)
    written(storage, store, 10)
    monkeypatch.undo()
    later, sound = checkpoints(storage, "product/step", 3)
    assert isinstance(later, Unusable)
    assert "later release (format 2, this one reads 1)" in later.reason
    assert isinstance(sound, Checkpoint)
    sound.close()


def test_two_writers_of_one_task_do_not_touch_each_other(
    storage: CheckpointStorage, store: LocalStore
) -> None:
    """Who had the task before ends late, or gives up: the checkpoint of who has it now is whole."""
    before = CheckpointWriter(storage, "product/step", 3, store, mark(10))
    given_up = CheckpointWriter(storage, "product/step", 3, store, mark(10))
    now = CheckpointWriter(storage, "product/step", 3, store, mark(20))
    for writer in (before, now, given_up):
        assert not writer.advance()
    given_up.abandon()
    for writer in (now, before):
        while not writer.advance():
            pass
        writer.finish()
    found = newest(storage)
    assert found is not None
    assert found.mark == mark(20)
    found.close()
    assert list(storage.workspace.iterdir()) == []


def test_what_a_killed_process_left_goes_when_it_is_old(
    storage: CheckpointStorage, store: LocalStore
) -> None:
    """What is written to still, or belongs to another task, stays."""
    old, young, other = (
        storage.workspace / name for name in ("product-step-3@a", "product-step-3@b", "p-s-33@a")
    )
    for file in (old, young, other):
        file.touch()
    for file in (old, other):
        os.utime(file, (1, 1))
    written(storage, store, 10)
    assert [old.exists(), young.exists(), other.exists()] == [False, True, True]


def test_a_directory_that_refuses_says_so(tmp_path: Path, store: LocalStore) -> None:
    """A file stands in the way of the directory."""
    (tmp_path / "checkpoints").write_text("")
    storage = DirectoryStorage(tmp_path / "checkpoints")
    with pytest.raises(RetriableError) as refused:
        written(storage, store, 10)
    assert refused.value.code == "STATE_STORAGE"
