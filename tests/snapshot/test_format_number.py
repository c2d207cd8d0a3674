"""A table that a newer release wrote to is let alone: its layout may be another one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import Lake

from headwater.errors import StartRefusedError
from headwater.ports import SNAPSHOT_FORMAT, Change, CommitRecord
from headwater.snapshot.record import from_text, to_text


def newest(lake: Lake) -> CommitRecord:
    """The record of the newest commit."""
    _, record = lake.table().commits()[-1]
    assert isinstance(record, CommitRecord)
    return record


@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_is_written_behind_a_commit_of_a_newer_release(
    format_: str, tmp_path: Path
) -> None:
    """One sentence with both numbers and the way on; a reader and `verify` get it too."""
    lake = Lake(tmp_path / "orders", format_)
    record = newest(lake)
    table = lake.table()
    table.offsets(record.topic_id)
    following = [
        replace(each, start=each.end, end=each.end + 1, rows=0, hash="0" * 32)
        for each in record.ranges
    ]
    news = replace(record, commit_id="other", ranges=following, format=SNAPSHOT_FORMAT + 1)
    table.commit(Change([], news))
    lake.publish(300, 320)
    before = {path for path in lake.directory.rglob("*") if path.suffix == ".parquet"}
    for use in (lake.take, lake.verify):
        with pytest.raises(StartRefusedError, match="a newer release") as refused:
            use()
        assert refused.value.code == "SNAPSHOT_FORMAT"
        assert f"this one knows {SNAPSHOT_FORMAT}" in str(refused.value)
    assert {path for path in lake.directory.rglob("*") if path.suffix == ".parquet"} == before


def test_a_record_of_a_newer_release_is_no_damaged_one() -> None:
    """Its fields may be other ones, so nothing but the number is asked."""
    with pytest.raises(StartRefusedError, match="of shop"):
        from_text(json.dumps({"format": SNAPSHOT_FORMAT + 1, "topic": "shop.orders"}))


def test_a_record_without_number_is_of_the_first_format(tmp_path: Path) -> None:
    """Releases before this one wrote none."""
    record = newest(Lake(tmp_path / "orders"))
    written = json.loads(to_text(record))
    assert written.pop("format") == SNAPSHOT_FORMAT
    assert from_text(json.dumps(written)) == record
