"""Every byte of a data file is held to the digest in its name, in every format."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
import xxhash
from tests.snapshot.changes import change
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import KEEP_MS, TARGET_BYTES, Lake, told
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.parquet import files as parquet_files
from headwater.adapters.parquet import reading
from headwater.errors import DamagedError, RetriableError
from headwater.ports import Table
from headwater.snapshot.file_names import digest_of, file_name, places_of
from headwater.snapshot.upkeep import Upkeep

ATTEMPT: Final = "a" * 32
DIGEST: Final = "b" * 32
FEW: Final = [pytest.param(format_, 24, id=f"{format_}-few") for format_ in FORMATS]
MANY: Final = [
    pytest.param(
        format_, 3_000, marks=[pytest.mark.faults, pytest.mark.timeout(3_600)], id=f"{format_}-many"
    )
    for format_ in FORMATS
]


@pytest.fixture(params=FORMATS)
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A snapshot of two commits in any format."""
    return Lake(tmp_path / "orders", request.param)


def with_older_names(patch: pytest.MonkeyPatch) -> None:
    """Write files as releases did whose names told no digest."""

    def older(beginning: str, attempt: str, _digest: str) -> str:
        return f"{beginning}-{attempt}.parquet"

    patch.setattr(parquet_files, "file_name", older)


def rotten(content: bytes, places: int) -> Iterator[bytes]:
    """A file with one bit flipped: anywhere, and always in its magics, its length, its footer."""
    chance = random.Random(places)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    always = [0, 4, footer - 1, footer, footer + 1, len(content) - 8, len(content) - 1]
    # half of them in the footer, where no checksum of Parquet reaches
    some = [chance.randrange(chance.choice((0, footer)), len(content)) for _ in range(places)]
    for place in (*always, *some):
        yield (
            content[:place]
            + bytes([content[place] ^ 1 << chance.randrange(8)])
            + content[place + 1 :]
        )


@pytest.mark.parametrize(("format_", "flips"), [*FEW, *MANY])
def test_a_byte_that_is_flipped_anywhere_in_a_file_is_found_and_named(
    tmp_path: Path, format_: str, flips: int
) -> None:
    """Data, headers of pages, footer, length and magic: one difference, which names the file."""
    lake = Lake(tmp_path / "orders", format_)
    path = lake.file(0)
    content = path.read_bytes()
    for changed in rotten(content, flips):
        path.write_bytes(changed)
        verdict = lake.verify()
        assert [(found.kind, found.partition) for found in verdict.differences] == [("damaged", 0)]
        assert path.name in told(verdict)[0]
    path.write_bytes(content)
    assert lake.verify().outcome == "equal"


@pytest.mark.parametrize("cut", [-1, 1], ids=["shorter", "longer"])
def test_a_file_of_another_length_is_named(any_lake: Lake, cut: int) -> None:
    """Bytes behind its end are no more what was written than bytes that lack."""
    path = any_lake.file(0)
    os.truncate(path, path.stat().st_size + cut)
    verdict = any_lake.verify()
    assert [found.kind for found in verdict.differences] == ["damaged"]
    assert path.name in told(verdict)[0]


def test_arrow_never_parses_a_file_that_is_not_what_was_written(
    any_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some footers make it hang, others end the process."""
    path = any_lake.file(0)
    path.write_bytes(bytes([*path.read_bytes()[:-1], 0]))
    parsed: list[Any] = []

    class Seen:
        def make_fragment(self, *given: Any, **_named: Any) -> Any:
            parsed.append(given)
            raise AssertionError

    monkeypatch.setattr(reading, "_FORMAT", Seen())
    table = any_lake.table()
    (name,) = (each.name for each in table.files() if each.name.endswith(path.name))
    with pytest.raises(DamagedError, match=path.name):
        list(table.scan(name))
    assert parsed == []


def test_the_name_of_a_file_tells_the_digest_of_its_bytes(any_lake: Lake) -> None:
    """Anybody can prove it, with no more than the file: `xxhsum -H2` prints the same."""
    paths = list(any_lake.directory.rglob("*.parquet"))
    assert len(paths) == 6
    for path in paths:
        assert digest_of(str(path)) == xxhash.xxh3_128_hexdigest(path.read_bytes())
        assert path.name.endswith(f"-{digest_of(path.name)}.parquet")


def test_files_of_older_releases_are_read_by_what_they_tell(
    any_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without a digest is no damage, and a file that cannot be read is one as ever."""
    with monkeypatch.context() as patch:
        with_older_names(patch)
        any_lake.publish(300, 330)
        any_lake.take()
    older = [path for path in any_lake.directory.rglob("*.parquet") if digest_of(path.name) is None]
    assert len(older) == 3
    assert (any_lake.verify().outcome, any_lake.verify().rows) == ("equal", 330)
    os.truncate(older[0], 200)
    (found,) = any_lake.verify().differences
    assert (found.kind, older[0].name in found.detail) == ("damaged", True)


def test_upkeep_writes_no_file_anew_that_is_not_what_was_written(any_lake: Lake) -> None:
    """Merged, it would have a digest that is right, and nobody could tell any more."""
    for begin in range(300, 360, 6):
        any_lake.publish(begin, begin + 6)
        any_lake.take()
    path = any_lake.file(0)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # in the footer
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=path.name):
        Upkeep(any_lake.table(), TARGET_BYTES, KEEP_MS).run()
    verdict = any_lake.verify()
    assert [found.kind for found in verdict.differences] == ["damaged"]
    assert path.name in told(verdict)[0]


def opened(directory: Path, format_: str) -> Table:
    """A new handle."""
    return FORMATS[format_](directory, product=TOPIC, topic=TOPIC)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("moment", ["before", "behind"])
def test_a_file_that_gets_no_name_leaves_nothing(
    tmp_path: Path, format_: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its draft stays, nor a file under the name that nobody heard of, nor those before."""
    opened(tmp_path, format_).commit(change(rows(0, 10), record(0, 10)))
    before = {path for path in tmp_path.rglob("*") if path.suffix in {".parquet", ".tmp"}}
    rename = os.rename

    def failing(name: Path, wanted: Path) -> None:
        if moment == "behind":
            rename(name, wanted)
        raise OSError(5, "Input/output error")

    table = opened(tmp_path, format_)
    table.offsets("one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        with pytest.raises(RetriableError) as refused:
            table.commit(change(rows(10, 20), record(10, 20)))
    assert refused.value.code == "SNAPSHOT_STORAGE"
    assert {path for path in tmp_path.rglob("*") if path.suffix in {".parquet", ".tmp"}} == before
    table.commit(change(rows(10, 20), record(10, 20)))
    assert opened(tmp_path, format_).rows() == 20


def test_names_tell_places_and_digests_or_neither() -> None:
    """Those of today, those of older releases, and those of other writers."""
    part = file_name("part-2-10-20", ATTEMPT, DIGEST)
    assert part == f"part-2-10-20-{ATTEMPT}-{DIGEST}.parquet"
    bucket = file_name("bucket-1-3-of-8-40", ATTEMPT, DIGEST)
    for name, places in ((part, ((2, 2), (10, 19))), (bucket, ((1, 1), (0, 39)))):
        assert places_of(f"day=2026-01-31/{name}") == places
        assert digest_of(f"data/{name}") == DIGEST
        older = name.replace(f"-{DIGEST}", "")
        assert places_of(older) == places
        assert digest_of(older) is None
    for theirs in (
        "part-00000-3f1c0000-0000-4000-8000-000000000000-c000.snappy.parquet",
        "00000-0-3f1c0000-0000-4000-8000-000000000000.parquet",
        f"{DIGEST}.parquet",
        f"{part}.crc",
    ):
        assert (places_of(theirs), digest_of(theirs)) == (None, None)


def test_a_draft_is_no_file_of_a_table(tmp_path: Path) -> None:
    """Who reads every Parquet file of a directory never finds one that is half written."""
    storage = DirectoryFiles(tmp_path)
    seen: list[list[str]] = []
    write = parquet_files._Hashed.write

    def watched(self: Any, content: bytes) -> int:
        seen.append([path.name for path in tmp_path.iterdir()])
        return write(self, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_files._Hashed, "write", watched)
        written = parquet_files.write_files(storage, change(rows(0, 3), record(0, 3)).files)
    assert seen
    assert all(name.startswith(".") and name.endswith(".tmp") for names in seen for name in names)
    (file,) = written.files
    assert [path.name for path in tmp_path.iterdir()] == [file.path]
    assert pa.Table.from_batches(reading.scan(storage, file.path, rows(0, 3).schema)).num_rows == 3
