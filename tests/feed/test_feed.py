"""The feed into a real broker: each record once, in order, whatever happened before."""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly import feed as module
from headwater.assembly.feed import Fed, FeedOptions, feed
from headwater.assembly.flights import SOURCES, data_directory
from headwater.config import Settings, load_settings
from headwater.contract import Decoder, load_contract
from headwater.embedded import Addresses
from headwater.errors import StartRefusedError, UnavailableError
from headwater.ports import Records, TopicSettings

pytestmark = pytest.mark.kafka

PROJECT = Path(__file__).parents[2]
ROWS = 45_000  # of departures: three slices, two of them full


def ignore(done: int, total: int) -> None:
    """Nobody watches the progress."""


class Trial:
    """The feed of a part of the departures into a topic of its own."""

    def __init__(self, stack: Addresses, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topic = f"trial.d{uuid.uuid4().hex}"
        self.schemas = directory
        self.settings: Settings = load_settings(
            directory,
            {"HEADWATER_KAFKA": stack.kafka, "HEADWATER_REGISTRY": stack.registry},
        )
        contract = directory / self.topic.replace(".", "/") / "v1.avsc"
        contract.parent.mkdir(parents=True)
        contract.write_text((PROJECT / "schemas/operations/departures/v1.avsc").read_text())
        departures = SOURCES[-1]
        self.frame = departures.read(data_directory()).head(ROWS)
        part = replace(departures, topic=self.topic, read=lambda _: self.frame)
        monkeypatch.setattr(module, "SOURCES", (part,))
        self.topics = KafkaTopics(self.settings.kafka)

    def run(self, options: FeedOptions | None = None) -> Fed:
        (fed,) = feed(self.settings, self.schemas, options or FeedOptions(), ignore)
        return fed

    def log(self) -> pl.DataFrame:
        """What the topic holds: the contract's columns, `_partition` and `_key`."""
        contract = load_contract(self.schemas, self.topic, 1)
        with closing(SchemaRegistry(self.settings.registry)) as registry:
            decoder = Decoder(contract, registry.schema)
            return pl.concat([self.decoded(decoder, records) for records in self.records()])

    def records(self) -> list[Records]:
        """Every record of the topic, by partition and in order."""
        ranges = {p: (0, end) for p, end in self.topics.ends(self.topic).items()}
        with closing(KafkaLogReader(self.settings.kafka)) as reader:
            return list(reader.read(ranges, max_records=10_000))

    def decoded(self, decoder: Decoder, records: Records) -> pl.DataFrame:
        decoded = decoder.decode(records.values)
        assert not decoded.quarantined
        return decoded.frame.with_columns(
            _partition=pl.Series(records.partitions()),
            _key=pl.Series(records.keys(), dtype=pl.Binary),
        )


@pytest.fixture
def trial(stack: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A feed nobody ran before."""
    return Trial(stack, tmp_path, monkeypatch)


def test_the_log_holds_the_frame_in_event_time_order(trial: Trial) -> None:
    """Every record once, keyed by flight id, ordered in each partition by schedule."""
    fed = trial.run()
    log = trial.log()
    assert (fed.written, fed.records, fed.partitions) == (ROWS, ROWS, 4)
    columns = trial.frame.columns
    assert log.select(columns).sort("flight_id").equals(trial.frame.sort("flight_id"))
    assert (log["_key"].cast(pl.String) == log["flight_id"]).all()
    parts = log.partition_by("_partition")
    assert len(parts) == 4
    assert all(part["sched_dep"].is_sorted() for part in parts)


def test_feeding_twice_writes_nothing_the_second_time(trial: Trial) -> None:
    """The feed may be repeated without a thought."""
    assert trial.run().written == ROWS
    assert trial.run().written == 0
    assert sum(trial.topics.ends(trial.topic).values()) == ROWS


def test_an_interrupted_feed_is_completed_by_the_next(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there stays, what is missing comes, nothing comes twice."""
    write, calls = BulkWriter.write, Counter[str]()

    def failing(self: BulkWriter, topic: str, keys: list[bytes], values: list[bytes]) -> None:
        calls[topic] += 1
        if calls[topic] > 1:
            self.flush()
            raise UnavailableError("the plug was pulled")
        write(self, topic, keys[:15_000], values[:15_000])

    with monkeypatch.context() as patch:
        patch.setattr(BulkWriter, "write", failing)
        with pytest.raises(UnavailableError):
            trial.run()
    assert trial.run().written == ROWS - 15_000
    assert trial.log()["flight_id"].sort().equals(trial.frame["flight_id"].sort())


def test_more_copies_add_just_those(trial: Trial) -> None:
    """A larger repeat finds the first copy in place."""
    trial.run()
    fed = trial.run(FeedOptions(repeat=3))
    assert (fed.written, fed.records) == (2 * ROWS, 3 * ROWS)
    assert trial.log()["flight_id"].n_unique() == 3 * ROWS


def test_again_appends_everything_once_more(trial: Trial) -> None:
    """Only who asks for it gets a record twice."""
    trial.run()
    assert trial.run(FeedOptions(again=True)).written == ROWS
    assert trial.log()["flight_id"].value_counts()["count"].unique().to_list() == [2]


def test_records_keep_their_publish_time_in_order(trial: Trial) -> None:
    """The Kafka timestamp is when the record was published, not when the event was."""
    trial.run()
    times: dict[int, list[int]] = {}
    for records in trial.records():
        times.setdefault(records.partitions()[0], []).extend(records.timestamps_ms())
    assert len(times) == 4
    assert all(one <= other for held in times.values() for one, other in pairwise(held))
    assert times[0][0] > trial.frame["sched_dep"].max().timestamp() * 1000  # type: ignore[union-attr]


def test_topics_of_another_shape_are_refused_before_anything_is_written(trial: Trial) -> None:
    """A log that forgets, or has other partitions than asked for, is told and left alone."""
    trial.topics.create([TopicSettings(trial.topic, 2, "dead-letters")])
    with pytest.raises(StartRefusedError, match=r"2 partitions, expected 8.*retention\.ms"):
        trial.run(FeedOptions(partitions=8))
    assert sum(trial.topics.ends(trial.topic).values()) == 0


def test_the_command_feeds_all_five_sources(stack: Addresses) -> None:
    """The year of the data set, as the README says."""
    command = [sys.executable, "-c", "from headwater.cli.main import main; main()"]
    environment = {"HEADWATER_KAFKA": stack.kafka, "HEADWATER_REGISTRY": stack.registry}
    ran = subprocess.run(
        [*command, "demo", "feed", "--format", "json"],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {fed["topic"]: fed["records"] for fed in json.loads(ran.stdout)} == {
        "reference.airlines": 16,
        "reference.airports": 1_458,
        "fleet.aircraft": 3_322,
        "meteorology.observations": 26_115,
        "operations.departures": 336_776,
    }
