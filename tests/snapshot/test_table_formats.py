"""Tables are opened in the format that stands, and written in the one that is declared."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.snapshot.changes import change
from tests.snapshot.formats import FORMATS
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.objects import opening
from headwater.assembly import table_formats
from headwater.assembly.table_formats import DEFAULT, MARKS, SnapshotTables
from headwater.config import Settings
from headwater.errors import ConfigurationError, RetriableError, StartRefusedError
from headwater.product import Snapshot
from headwater.product.snapshot import FORMATS as DECLARED

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
POSTGRES = "postgresql://me:canary@127.0.0.1:9/db"
PROGRAM = """
import sys
from pathlib import Path
from headwater.adapters.objects import opening
from headwater.assembly.table_formats import SnapshotTables
table = SnapshotTables({0!r}, {1!r}).open({1!r})
print(table.rows(), *sorted(each for each in ("deltalake", "pyiceberg", "sqlalchemy", "psycopg")
    if each in sys.modules))
"""


@pytest.fixture
def tables(tmp_path: Path) -> SnapshotTables:
    """Below an empty directory."""
    return SnapshotTables(str(tmp_path), TOPIC)


def begun(tables: SnapshotTables, form: str) -> None:
    """Ten rows in a format."""
    tables.open_as(TOPIC, form).commit(change(rows(0, 10), record(0, 10)))


def test_what_can_be_declared_can_be_opened() -> None:
    """And what is not declared is the same for both."""
    assert set(MARKS) == set(DECLARED) == set(FORMATS)
    assert Snapshot(every="1h").format == DEFAULT


@pytest.mark.parametrize("form", FORMATS)
def test_a_reader_finds_a_table_that_begins_while_it_looks(
    tables: SnapshotTables, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none stood there is one of any format before it is opened."""
    look = table_formats._standing

    def begun_behind(*given: Any) -> str | None:
        monkeypatch.setattr(table_formats, "_standing", look)
        found = look(*given)
        begun(tables, form)
        return found

    monkeypatch.setattr(table_formats, "_standing", begun_behind)
    assert tables.open(TOPIC).rows() == 10


def test_a_writer_finds_the_catalogue_of_a_table_that_begins_while_it_looks(
    tables: SnapshotTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metadata stand behind the catalogue that knows them: none without it is seen."""
    look, standing = table_formats._holds, table_formats._standing

    def begun_behind(*given: Any) -> bool:
        monkeypatch.setattr(table_formats, "_holds", look)
        found = look(*given)
        begun(tables, "iceberg")
        return found

    def armed(*given: Any) -> str | None:
        monkeypatch.setattr(table_formats, "_standing", standing)
        found = standing(*given)
        monkeypatch.setattr(table_formats, "_holds", begun_behind)
        return found

    monkeypatch.setattr(table_formats, "_standing", armed)
    assert tables.open_as(TOPIC, "iceberg").rows() == 10


@pytest.mark.parametrize("form", FORMATS)
def test_a_reader_looks_at_what_stands(tables: SnapshotTables, form: str) -> None:
    """It knows no declaration."""
    assert tables.open(TOPIC).version() is None
    begun(tables, form)
    found = tables.open(TOPIC)
    assert type(found).__name__.lower().startswith(form)
    assert found.rows() == 10
    assert tables.open_as(TOPIC, form).rows() == 10


@pytest.mark.parametrize("form", FORMATS)
def test_another_format_than_declared_is_refused(tables: SnapshotTables, form: str) -> None:
    """With both ways out; the table stays as it was."""
    begun(tables, form)
    for other in set(FORMATS) - {form}:
        with pytest.raises(StartRefusedError, match=f"is of format {form}.*--to") as refused:
            tables.open_as(TOPIC, other)
        assert refused.value.code == "ANOTHER_FORMAT"
    assert tables.open(TOPIC).rows() == 10


def test_tables_of_two_formats_in_one_directory_are_refused(tables: SnapshotTables) -> None:
    """Nobody could say which one is meant."""
    begun(tables, "delta")
    (Path(tables.location) / TOPIC / "manifest").mkdir()
    with pytest.raises(StartRefusedError, match="delta and parquet") as refused:
        tables.open(TOPIC)
    assert refused.value.code == "NOT_OUR_TABLE"


def test_an_extra_that_is_not_installed_is_named(
    tables: SnapshotTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to run, in one sentence."""
    begun(tables, "iceberg")
    for name in [each for each in sys.modules if each.startswith("headwater.adapters.iceberg")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [each for each in sys.modules if each.split(".")[0] == "pyiceberg"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ConfigurationError, match=r"pyiceberg is not.*pip install 'headwater\[iceberg\]'"
    ) as refused:
        tables.open(TOPIC)
    assert refused.value.problems[0].code == "NOT_INSTALLED"


@pytest.mark.parametrize(
    ("form", "loaded"),
    [("delta", "deltalake"), ("iceberg", "pyiceberg sqlalchemy"), ("parquet", "")],
)
def test_only_the_library_of_the_format_is_loaded(
    tables: SnapshotTables, form: str, loaded: str
) -> None:
    """A process pays for the tables it opens."""
    begun(tables, form)
    program = PROGRAM.format(tables.location, TOPIC)
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["10", *loaded.split()]


# -- the catalogue of Iceberg ----------------------------------------------------------------------


def test_a_table_keeps_the_catalogue_beside_it(tables: SnapshotTables) -> None:
    """Readers find it there whatever is set; a writer is told, because engines would look there."""
    begun(tables, "iceberg")
    shared = SnapshotTables(tables.location, TOPIC, POSTGRES)
    assert shared.open(TOPIC).rows() == 10
    with pytest.raises(StartRefusedError, match="iceberg_catalogue") as refused:
        shared.open_as(TOPIC, "iceberg")
    assert refused.value.code == "ANOTHER_CATALOGUE"
    assert "canary" not in str(refused.value)


def test_a_table_in_a_shared_catalogue_asks_for_it(tmp_path: Path, catalogue_url: str) -> None:
    """Its files alone do not tell which version is the newest."""
    shared = SnapshotTables(str(tmp_path), TOPIC, catalogue_url)
    begun(shared, "iceberg")
    assert shared.open(TOPIC).rows() == 10
    with pytest.raises(ConfigurationError, match="HEADWATER_ICEBERG_CATALOGUE") as refused:
        SnapshotTables(str(tmp_path), TOPIC).open(TOPIC)
    assert refused.value.problems[0].code == "NO_CATALOGUE"


def test_a_table_that_lost_its_catalogue_is_told(tables: SnapshotTables) -> None:
    """Readers and writers hear that a file is gone, and what to do about it."""
    begun(tables, "iceberg")
    (Path(tables.place(TOPIC)) / "catalog.db").unlink()
    for ask in (tables.open, lambda topic: tables.open_as(topic, "iceberg")):
        with pytest.raises(
            ConfigurationError, match=r"catalog\.db.*is gone: restore it"
        ) as refused:
            ask(TOPIC)
        assert refused.value.problems[0].code == "NO_CATALOGUE"


def test_places_come_from_the_settings(tmp_path: Path) -> None:
    """The catalogue's password is in no text of them."""
    settings = Settings.from_tables({"iceberg_catalogue": POSTGRES, "snapshots": str(tmp_path)})
    found = SnapshotTables.of(settings, TOPIC)
    assert found == SnapshotTables(str(tmp_path), TOPIC, POSTGRES)
    assert SnapshotTables.of(settings, TOPIC, str(tmp_path / "a")).location == str(tmp_path / "a")
    assert "canary" not in f"{found} {found!r} {settings!r} {settings.model_dump()}"
    assert {"me", "canary"} <= settings.secrets()


def test_a_table_of_iceberg_in_a_bucket_needs_the_catalogue(
    bucket: str, catalogue_url: str
) -> None:
    """One sentence says what to set, before anything is written; readers are told likewise."""
    with pytest.raises(ConfigurationError, match="where none can have a catalogue of") as refused:
        SnapshotTables(bucket, TOPIC).open_as(TOPIC, "iceberg")
    assert refused.value.problems[0].code == "NO_CATALOGUE"
    begun(SnapshotTables(bucket, TOPIC, catalogue_url), "iceberg")
    with pytest.raises(ConfigurationError, match="known to an Iceberg catalogue") as refused:
        SnapshotTables(bucket, TOPIC).open(TOPIC)
    assert refused.value.problems[0].code == "NO_CATALOGUE"


@pytest.mark.parametrize("location", ["gs://bucket/here", "s3:/bucket/here", "s3://b", ""])
def test_a_location_that_cannot_be_is_refused(location: str) -> None:
    """A path that lost a slash is no directory of that name."""
    with pytest.raises(ConfigurationError, match="write a directory, or s3://bucket/prefix"):
        SnapshotTables.of(Settings.from_tables({}), TOPIC, location)


@pytest.mark.parametrize("form", FORMATS)
def test_a_reader_looks_at_what_stands_in_a_bucket(
    bucket: str, catalogue_url: str, form: str
) -> None:
    """Below the prefix, under the name of the topic."""
    tables = SnapshotTables(f"{bucket}/", TOPIC, catalogue_url)
    tables.open_as(TOPIC, form).commit(change(rows(0, 1), record(0, 1)))
    table = tables.open(TOPIC)
    assert table.location == f"{bucket}/{TOPIC}"
    assert type(table).__module__ == f"headwater.adapters.{form}.table"
    assert table.rows() == 1


# -- a bucket that cannot be looked into -----------------------------------------------------------


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> SnapshotTables:
    """In a bucket to which nothing leads, neither a server nor the machine's own role."""
    monkeypatch.setattr(opening, "RETRIES", 0)
    for name in ("AWS_ENDPOINT_URL", "AWS_METADATA_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    return SnapshotTables("s3://bucket/here", TOPIC)


@pytest.mark.parametrize("form", FORMATS)
def test_missing_credentials_are_told_by_the_settings_to_set(
    nowhere: SnapshotTables, form: str
) -> None:
    """At the first look, by readers and writers; it may pass, as the role of a machine may come."""
    for ask in (nowhere.open, lambda topic: nowhere.open_as(topic, form)):
        with pytest.raises(
            RetriableError, match=rf"no credentials: set {' and '.join(KEYS)},"
        ) as told:
            ask(TOPIC)
        assert told.value.code == "SNAPSHOT_STORAGE"
        assert f"s3://bucket/here/{TOPIC}" in str(told.value)


@pytest.mark.parametrize("alone", KEYS)
def test_half_of_the_credentials_is_told(
    nowhere: SnapshotTables, monkeypatch: pytest.MonkeyPatch, alone: str
) -> None:
    """An id without its secret, or the other way round: no role of the machine is meant then."""
    monkeypatch.setenv(alone, "canary")
    with pytest.raises(StartRefusedError, match="set both") as told:
        nowhere.open(TOPIC)
    assert told.value.code == "SNAPSHOT_STORAGE"
    assert "canary" not in str(told.value)


def test_a_store_that_is_away_is_told_at_the_first_look(
    nowhere: SnapshotTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what it is: trouble that passes, and no defect."""
    for name in KEYS:
        monkeypatch.setenv(name, "canary")
    with pytest.raises(RetriableError, match="the store cannot be reached") as told:
        nowhere.open(TOPIC)
    assert told.value.code == "SNAPSHOT_STORAGE"
