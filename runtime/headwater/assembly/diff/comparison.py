"""Two definitions of a product over one real cut of its inputs, their outputs row by row.

Reads logs outside any group and asks the registry for writers' schemas. Publishes, commits and
registers nothing.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.diff.frames import compare
from headwater.assembly.diff.side import Cut, Made, Outside, Side
from headwater.assembly.diff.tally import Allowance, Finding, PortTally, RefusedTally, StopTally
from headwater.assembly.project import LoadedProduct, complete, told
from headwater.assembly.root import PRODUCTS, SCHEMAS, find_root
from headwater.assembly.source import FILE_NAME, read_product
from headwater.assembly.tables import tables_cut
from headwater.config import Settings
from headwater.errors import (
    ConfigurationError,
    DeclarationError,
    Problem,
    StartRefusedError,
    UnverifiableError,
)
from headwater.ports import Records, Topics
from headwater.product.names import folder_of

READ_AT_ONCE: Final = 40_000  # records: larger batches are no faster, and take more memory

Progress = Callable[[int, int], None]
"""Told how many offsets of the cut are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """`last`: offsets per partition, None for all there are. `sample`: rows shown per kind."""

    allowance: Allowance = field(default_factory=Allowance)
    last: int | None = None
    sample: int = 5


@dataclass(slots=True)
class Compared:
    """What came of it. `ports` are by port name, None for the first log; `records` were read."""

    cut: Cut
    ports: Mapping[str | None, PortTally]
    refused: RefusedTally
    allowance: Allowance
    stops: StopTally = field(default_factory=StopTally)
    records: int = 0

    def add(self, records: Records, today: Made, candidate: Made) -> None:
        """Compare what both made of one batch."""
        for name, tally in self.ports.items():
            left = today.frames.get(name, tally.empties[0])
            right = candidate.frames.get(name, tally.empties[1])
            tally.add(records, compare(left, right, tally.key, tally.layout.shared))
        self._add_others(today, candidate)
        self.records += len(records)

    def finish(self, today: Made, candidate: Made) -> None:
        """Compare what no single record made, and what the end of the data made of both."""
        for name, tally in self.ports.items():
            left, right = (
                pl.concat([empty.clear(), *side.results.get(name, ())])
                for empty, side in zip(tally.empties, (today, candidate), strict=True)
            )
            tally.add(None, compare(left, right, tally.window_key(), tally.layout.shared))
        self._add_others(today, candidate)

    def _add_others(self, today: Made, candidate: Made) -> None:
        self.refused.add(today.refused, candidate.refused)
        self.stops.add(today.stops, candidate.stops)

    def findings(self) -> list[Finding]:
        """Every difference, allowed or not."""
        ports = [each for tally in self.ports.values() for each in tally.findings()]
        return [*ports, *self.refused.findings(), *self.stops.findings()]

    def beyond(self) -> list[Finding]:
        """The differences that are not allowed."""
        return [each for each in self.findings() if not self.allowance.takes(each)]


@contextmanager
def outside(settings: Settings) -> Iterator[Outside]:
    """Clients that only read, closed at the end."""
    with (
        closing(KafkaLogReader(settings.kafka)) as reader,
        closing(SchemaRegistry(settings.registry)) as registry,
    ):
        yield Outside(KafkaTopics(settings.kafka), reader, registry)


def load_candidate(path: Path, today: LoadedProduct) -> LoadedProduct:
    """The candidate definition: a product.py, its folder, or the root of a project that has it.

    Its contracts are those of the project it stands in; today's, where it stands in none with
    `schemas`. Raises DeclarationError with every mistake in it.
    """
    file = _candidate_file(path.absolute(), today)
    root = find_root(file.parent)
    if root is None or not (root / SCHEMAS).is_dir():
        root = today.root
    try:
        return complete(read_product(file), file, root)
    except DeclarationError as error:
        raise told(error.problems) from error


def _candidate_file(path: Path, today: LoadedProduct) -> Path:
    places = (path, path / FILE_NAME, path / PRODUCTS / folder_of(today.name) / FILE_NAME)
    for file in places:
        if file.is_file():
            return file
    text = f"there is neither a {FILE_NAME} nor {PRODUCTS}/{folder_of(today.name)} in {path}"
    raise DeclarationError([Problem("NO_CANDIDATE", text)])


class Comparison:
    """Runs two definitions over one cut and compares what they would publish.

    Raises StartRefusedError (TOPIC_MISSING), DeclarationError for an input that a side can never
    read, and UnavailableError.
    """

    def __init__(self, today: LoadedProduct, candidate: LoadedProduct, outside: Outside) -> None:
        self._outside = outside
        self._inputs: Final = sorted({*today.streams(), *candidate.streams()})
        _require(self._inputs, outside.topics)
        tables = tables_cut((today, candidate), outside.topics)  # once: both see the same rows
        self._today = Side(today, outside, tables)
        self._candidate = Side(candidate, outside, tables)

    def run(self, options: DiffOptions, progress: Progress) -> Compared:
        """Compare. The positions are taken once, at the start.

        Raises ConfigurationError for a column that is allowed and nowhere to be found,
        DeclarationError when a side depends on batch boundaries, UnverifiableError when there is
        nothing to compare on, or the log loses what is to be read, ResultRefusedError for what a
        side computes of several records and cannot publish, and UnavailableError.
        """
        sides = self._today, self._candidate
        names = dict.fromkeys((*sides[0].contracts, *sides[1].contracts))
        ports = {
            name: PortTally(
                *(side.contracts.get(name) for side in sides), sample_size=options.sample
            )
            for name in names
        }
        _check_columns(options.allowance, list(ports.values()))
        cut = _cut(self._inputs, self._outside.topics, options.last)
        compared = Compared(cut, ports, RefusedTally(), options.allowance)
        first = sum(start for start, _ in cut.values())
        total = sum(end for _, end in cut.values()) - first
        passed = {partition: start for partition, (start, _) in cut.items()}
        for records in self._outside.reader.read(cut, max_records=READ_AT_ONCE):
            compared.add(records, *(side.process(records) for side in sides))
            passed.update(records.ends())
            progress(sum(passed.values()) - first, total)
        if not compared.records:
            topics = ", ".join(sorted({partition.topic for partition in cut}))
            text = f"There is no record in {topics} to compare the definitions on; feed some first."
            raise UnverifiableError(text, code="NOTHING_TO_COMPARE")
        compared.finish(*(side.end() for side in sides))
        return compared


def _require(names: Sequence[str], topics: Topics) -> None:
    missing = [name for name in names if topics.partitions(name) is None]
    if missing:
        text = (
            f"there is no topic {', '.join(missing)} to read; start the product that publishes it"
        )
        raise StartRefusedError(text, code="TOPIC_MISSING")


def _cut(names: Sequence[str], topics: Topics, last: int | None) -> Cut:
    cut = {}
    for name in names:
        ends = topics.ends(name)
        for partition, beginning in topics.beginnings(name).items():
            end = ends[partition]
            cut[partition] = (beginning if last is None else max(beginning, end - last), end)
    return cut


def _check_columns(allowance: Allowance, ports: Sequence[PortTally]) -> None:
    known = {name for port in ports for name in port.layout.names()}
    unknown = sorted(allowance.columns - known)
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
        text = f"--allow changed:{unknown[0]}: no output has this column; {hint}"
        raise ConfigurationError([Problem("BAD_VALUE", text)])
