"""`headwater diff` as a user runs it: a product of real delays, a candidate, a real broker."""

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka.admin import AdminClient
from tests.registry.confluent import registry_client

from headwater.adapters.kafka.topics import KafkaTopics
from headwater.assembly import feed as feed_module
from headwater.assembly.feed import FeedOptions, feed
from headwater.assembly.flights import SOURCES, data_directory
from headwater.config import load_settings
from headwater.embedded import Addresses

pytestmark = pytest.mark.kafka

PROJECT = Path(__file__).parents[2]
PRODUCT = "operations.departure-delays"
ROWS = 30_000  # of the 336,776 departures


@dataclass(frozen=True)
class Project:
    """A product over a part of the departures in a topic of its own."""

    root: Path
    topic: str
    stack: Addresses
    departures: pl.DataFrame

    def checkout(self, name: str, **changes: str) -> Path:
        """Another folder with the same product and contracts, its product.py changed."""
        root = self.root.parent / name
        source = PROJECT / "tests/stateless_delays.txt"
        text = source.read_text().replace("operations.departures", self.topic)
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        _write(root / "products/operations/departure_delays/product.py", text)
        for folder, topic in (("departures", self.topic), ("departure_delays", PRODUCT)):
            contract = (PROJECT / f"schemas/operations/{folder}/v1.avsc").read_text()
            _write(
                root / "schemas" / topic.replace(".", "/").replace("-", "_") / "v1.avsc", contract
            )
        return root

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors of a command."""
        addresses = {"HEADWATER_KAFKA": self.stack.kafka, "HEADWATER_REGISTRY": self.stack.registry}
        program = "import sys; from headwater.cli.main import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=self.root,
            env={**os.environ, **addresses, "HEADWATER_ENVIRONMENT": "dev"},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        return done.returncode, done.stdout, done.stderr

    def outside(self) -> tuple[Any, ...]:
        """What a command could leave behind: topics, the ends of those it may know, subjects.

        Other topics of the session grow by themselves: the broker ends what processes of other
        tests left open when they were killed, and writes down that their members are gone.
        """
        topics = KafkaTopics({"bootstrap.servers": self.stack.kafka})
        admin = AdminClient({"bootstrap.servers": self.stack.kafka, "log_level": 2})
        names = [name for name in admin.list_topics(timeout=10).topics if name[:2] != "__"]
        known = [name for name in names if name.startswith((self.topic, PRODUCT, "_headwater."))]
        with registry_client(self.stack.registry) as registry:
            subjects = registry.get_subjects()
        return (
            sorted(names),
            {name: topics.high_watermarks(name) for name in known},
            topics.group_offsets(PRODUCT, self.topic),
            sorted(subjects),
        )

    def groups(self) -> set[str]:
        """The groups there are."""
        admin = AdminClient({"bootstrap.servers": self.stack.kafka, "log_level": 2})
        return {group.group_id for group in admin.list_consumer_groups().result().valid}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def project(tmp_path: Path, stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Departures in a topic, and the product that reads them."""
    topic = f"trial.d{uuid.uuid4().hex}"
    departures = SOURCES[-1]
    frame = departures.read(data_directory()).head(ROWS)
    project = Project(tmp_path / "today", topic, stack, frame)
    project.checkout("today")
    part = replace(departures, topic=topic, read=lambda _: frame)
    monkeypatch.setattr(feed_module, "SOURCES", (part,))
    environ = {"HEADWATER_KAFKA": stack.kafka, "HEADWATER_REGISTRY": stack.registry}
    settings = load_settings(project.root, environ)
    list(feed(settings, project.root / "schemas", FeedOptions(), lambda done, total: None))
    return project


def test_a_changed_bound_changes_just_the_rows_between_the_bounds(project: Project) -> None:
    """As counted without Headwater; and nothing outside is touched."""
    left = project.departures.filter(pl.col("dep_delay").is_not_null())
    between = left.filter((pl.col("dep_delay") > 15) & (pl.col("dep_delay") <= 30)).height
    next_ = project.checkout("next", **{"LATE_MINUTES = 15": "LATE_MINUTES = 30"})
    before, groups = project.outside(), project.groups()
    code, out, err = project.run("diff", PRODUCT, "--candidate", str(next_), "--format", "json")
    assert project.outside() == before
    assert project.groups() <= groups  # one of another test may go meanwhile
    assert (code, err.split(":")[0]) == (1, "DIFFERENT"), err
    assert "--allow changed:late" in err
    found = json.loads(out)
    assert (found["outcome"], found["records"]) == ("different", ROWS)
    (port,) = found["ports"]
    assert port["columns"] == {"late": between}
    assert port["rows"] == {
        "today": left.height,
        "candidate": left.height,
        "equal": left.height - between,
        "added": 0,
        "removed": 0,
        "changed": between,
    }
    assert len(port["sample"]) == 5
    code, out, err = project.run(
        "diff", PRODUCT, "--candidate", str(next_), "--allow", "changed:late"
    )
    assert (code, err) == (0, "")
    assert f"allowed: late of {PRODUCT} differs in {between:,} rows" in out
    lines = out.splitlines()[1:]  # the first holds a path, which is not broken
    assert max(map(len, lines)) <= 80


def test_the_same_definition_is_equal_and_a_narrower_filter_removes(project: Project) -> None:
    """Exit code 0 and 1, and the numbers of an independent count."""
    same = project.checkout("same")
    code, out, err = project.run("diff", PRODUCT, "--candidate", str(same))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Equal."
    old, new = ".is_not_null())", '.is_not_null(), pl.col("distance") >= 500)'
    far = project.checkout("far", **{old: new})
    code, out, _ = project.run("diff", PRODUCT, "--candidate", str(far), "--format", "json")
    near = project.departures.filter(pl.col("dep_delay").is_not_null(), pl.col("distance") < 500)
    rows = json.loads(out)["ports"][0]["rows"]
    assert (code, rows["removed"], rows["changed"]) == (1, near.height, 0)
