"""Two definitions of a product over one real cut of its inputs, their outputs row by row.

Reads logs outside any group and asks the registry for writers' schemas. Publishes, commits and
registers nothing.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import polars as pl

from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.diff_frames import compare
from headwater.assembly.diff_maps import maps_in_order
from headwater.assembly.diff_tally import Allowance, Finding, PortTally, RefusedTally, StopTally
from headwater.assembly.project import LoadedProduct, complete, told
from headwater.assembly.registration import lookup_ids, register
from headwater.assembly.root import PRODUCTS, SCHEMAS, find_root
from headwater.assembly.source import FILE_NAME, read_product
from headwater.assembly.tables import read_tables, tables_cut
from headwater.assembly.tasks import TaskMaker
from headwater.config import Settings
from headwater.contract import ROW, Contract, Decoder, Severity
from headwater.engine import LetterWriter
from headwater.engine.dead_letters import OFFSET, PREFIX
from headwater.errors import (
    ConfigurationError,
    DeclarationError,
    Problem,
    StartRefusedError,
    UnverifiableError,
)
from headwater.model import Letter, Partition, RuleViolation
from headwater.ports import LogReader, Records, Registry, Topics
from headwater.product.names import folder_of

READ_AT_ONCE: Final = 40_000  # records: larger batches are no faster, and take more memory
CODE: Final = PREFIX + "code"

Progress = Callable[[int, int], None]
"""Told how many offsets of the cut are done, and how many there are."""

Cut = Mapping[Partition, tuple[int, int]]
"""`[start, end)` per input partition."""


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """`last`: offsets per partition, None for all there are. `sample`: rows shown per kind."""

    allowance: Allowance = field(default_factory=Allowance)
    last: int | None = None
    sample: int = 5


@dataclass(frozen=True, slots=True)
class Outside:
    """What the comparison reads from; nothing is written to any of it."""

    topics: Topics
    reader: LogReader
    registry: Registry


@dataclass(frozen=True, slots=True)
class Made:
    """What one side makes of a batch: frames by port, and codes by offset of what it refuses.

    `stops` are the rules at which a run would stop.
    """

    frames: Mapping[str | None, pl.DataFrame]
    refused: Mapping[int, str]
    stops: Sequence[RuleViolation] = ()


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
        self.refused.add(today.refused, candidate.refused)
        self.stops.add(today.stops, candidate.stops)
        self.records += len(records)

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
        self._today = _Side(today, outside, tables)
        self._candidate = _Side(candidate, outside, tables)

    def run(self, options: DiffOptions, progress: Progress) -> Compared:
        """Compare. The positions are taken once, at the start.

        Raises ConfigurationError for a column that is allowed and nowhere to be found,
        DeclarationError when a side depends on batch boundaries, UnverifiableError when there is
        nothing to compare on, or the log loses what is to be read, and UnavailableError.
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
        return compared


class _Side:
    """One definition, whose outputs are encoded and decoded again.

    So what is compared is what would be published. Its schema ids exist in this object alone. No
    rule stops it: where a run would have stopped is told, and the rest compared all the same.
    """

    def __init__(self, loaded: LoadedProduct, outside: Outside, tables: Cut) -> None:
        registry = MemoryRegistry()
        for contract in loaded.outputs.values():
            register(contract, registry)
        self._stops = {
            (contract.topic, rule.name)
            for contract in (*loaded.inputs.values(), *loaded.outputs.values())
            for rule in contract.rules
            if rule.severity is Severity.STOP
        }
        maker = TaskMaker(
            _never_stopping(loaded),
            lookup_ids(loaded.outputs.values(), registry),
            outside.registry,
            outside.topics,
            LetterWriter(f"{loaded.name}.dead-letters"),
            always_framed=True,
        )
        read_tables(maker, outside.reader, tables)
        self._tasks = maker.tasks()
        self._ports = {output.topic: output.port for output in loaded.product.outputs}
        self._decoders = {
            topic: Decoder(contract, registry.schema) for topic, contract in loaded.outputs.items()
        }
        self._maps = {topic: maps_in_order(contract) for topic, contract in loaded.outputs.items()}
        self.contracts: Final[Mapping[str | None, Contract]] = {
            port: loaded.outputs[topic] for topic, port in self._ports.items()
        }

    def process(self, records: Records) -> Made:
        """What it makes of these records; nothing where it does not read their topic."""
        if records.topic not in self._tasks:
            return Made({}, {})
        work = self._tasks[records.topic].process(records)
        frames = {}
        for each in work.publications:
            frame = self._decoders[each.topic].decode(each.values).frame
            ordered = frame.with_columns(each.rows.alias(ROW), *self._maps[each.topic])
            frames[self._ports[each.topic]] = ordered
        stops = [each for each in work.violations if (each.topic, each.rule) in self._stops]
        return Made(frames, dict(map(_refusal, work.letters)), stops)


def _never_stopping(loaded: LoadedProduct) -> LoadedProduct:
    return replace(loaded, inputs=_warning(loaded.inputs), outputs=_warning(loaded.outputs))


def _warning(contracts: Mapping[str, Contract]) -> dict[str, Contract]:
    """Contracts whose rules of severity `stop` only count what breaks them."""
    return {
        name: replace(
            contract,
            rules=tuple(
                replace(rule, severity=Severity.WARN) if rule.severity is Severity.STOP else rule
                for rule in contract.rules
            ),
        )
        for name, contract in contracts.items()
    }


def _refusal(letter: Letter) -> tuple[int, str]:
    said = dict(letter.headers)  # ours come last, after those of the record itself
    return int(said[OFFSET] or 0), (said[CODE] or b"").decode()


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
