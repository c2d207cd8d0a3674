"""The evolution gate: a contract's versions judged by all who read them.

The registry's mode, the snapshot table, the declared consumers and the code of their steps. Works
on the files of a project alone; nothing is asked of a broker.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from headwater.assembly.project import (
    LoadedProduct,
    held_tables,
    plan_between,
    product_files,
    streams_of,
    told,
)
from headwater.assembly.root import SCHEMAS
from headwater.assembly.source import read_product
from headwater.contract import (
    Contract,
    contract_path,
    detours,
    event_time_change,
    field_line,
    incompatibilities,
    key_change,
    load_contract,
    next_major,
    predecessors,
    renamed,
    reused_names,
    tightened,
)
from headwater.errors import DeclarationError, Problem
from headwater.product import DataProduct, Output, Stream, TableJoin
from headwater.product.names import topic_name_mistake
from headwater.snapshot.evolution import Format, table_refusals

DEFAULT_FORMAT: Final[Format] = "delta"  # what `headwater snapshot` writes
PINNED: Final = "FORWARD"  # a consumer pinned to an older version reads the newer one
IN_THE_LOG: Final = "BACKWARD"  # and what older versions wrote, which the log keeps


@dataclass(slots=True)
class Judgement:
    """What stops a change of contracts, and what is worth knowing before it is made."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Gate:
    """Judges the contracts below `<root>/schemas`, with these products as their readers."""

    def __init__(self, root: Path, products: Sequence[DataProduct]) -> None:
        self._root = root
        self._products = products
        self._versions: dict[str, list[Contract]] = {}

    def judge(self, topics: Iterable[str]) -> Judgement:
        """Everything there is to say about the versions of these topics' contracts.

        A contract that cannot be read is left out: whoever reads it tells why.
        """
        found = Judgement()
        for topic in dict.fromkeys(topics):
            versions = self.versions(topic)
            for newer in versions:
                found.problems += self._changes(newer, versions)
                found.problems += self._table(newer, versions)
                found.notes += _renames(newer, versions)
                found.notes += _tightened(newer, versions)
            found.problems += _reuses(versions)
            for product, stream in self._readers(topic):
                self._consumer(product, stream, found)
        return found

    def versions(self, topic: str) -> list[Contract]:
        """The readable versions of a topic's contract, oldest first; there may be gaps."""
        if topic not in self._versions:
            self._versions[topic] = list(_versions(self._root / SCHEMAS, topic))
        return self._versions[topic]

    def published(self, topics: Iterable[str]) -> dict[str, list[Contract]]:
        """The versions of those topics that a product of the project publishes."""
        own = {output.topic for product in self._products for output in product.outputs}
        return {topic: self.versions(topic) for topic in topics if topic in own}

    def _changes(self, newer: Contract, versions: Sequence[Contract]) -> Iterator[Problem]:
        """What the mode of a version refuses, each place once: against the newest it fails with."""
        told_of: set[tuple[str, str]] = set()
        for older in predecessors(versions, newer):
            for each in incompatibilities(newer, older, newer.compatibility):
                if (each.path, each.rule) not in told_of:
                    told_of.add((each.path, each.rule))
                    text = f"{newer.topic}: under {newer.compatibility}, {each}"
                    yield _at(newer, "INCOMPATIBLE_CHANGE", text, each.path)
        before = [each for each in versions if each.version < newer.version][-1:]
        for older in before:
            for code, name, change in (
                ("KEY_CHANGED", '"key"', key_change(newer, older)),
                ("EVENT_TIME_CHANGED", '"eventTime"', event_time_change(newer, older)),
            ):
                if change is not None:
                    text = f"{newer.topic}: {change}; keep it, or publish a new major"
                    yield _at(newer, code, f"{text} {next_major(newer.topic)}", name)

    def _table(self, newer: Contract, versions: Sequence[Contract]) -> Iterator[Problem]:
        if (format_ := self._format(newer.topic)) is None:
            return
        told_of: set[str] = set()
        for older in reversed([each for each in versions if each.version < newer.version]):
            for each in table_refusals(older, newer, format_):
                if each.path in told_of:
                    continue
                told_of.add(each.path)
                text = (
                    f"{newer.topic}: the snapshot holds {each.path} of v{older.version} as"
                    f" {each.stored}, which a {format_} table does not widen to"
                    f" {each.wanted}; add a field beside it, or publish a new major"
                    f" {next_major(newer.topic)}"
                )
                yield _at(newer, "TABLE_CANNOT_FOLLOW", text, each.path)
        for path, first, between in _detours(newer, versions):
            if path not in told_of:
                told_of.add(path)
                text = (
                    f"{newer.topic}: the snapshot holds {path} of v{first.version} as"
                    f" v{between.version} read it, and v{newer.version} reads the log otherwise"
                    f" (a default that changed, a field or a symbol that came back, an alias that"
                    f" is gone); keep it as v{between.version} has it, or publish a new major"
                    f" {next_major(newer.topic)}"
                )
                yield _at(newer, "TABLE_CANNOT_FOLLOW", text, path)

    def _format(self, topic: str) -> Format | None:
        """The format of the topic's snapshot; None when no product of the project takes one."""
        found = (
            table_format(product)
            for product in self._products
            if any(output.topic == topic for output in product.outputs)
        )
        return next((each for each in found if each is not None), None)

    def _readers(self, name: str) -> Iterator[tuple[DataProduct, Stream]]:
        """Every declared input that is read with a version of this contract."""
        for product in self._products:
            for stream in product.reads:
                if stream.contract_name == name:
                    yield product, stream

    def _consumer(self, product: DataProduct, stream: Stream, found: Judgement) -> None:
        """Who breaks on which version, and what the steps would say to a newer one."""
        versions = self.versions(stream.contract_name)
        pinned = self._version(stream.contract_name, stream.contract)
        if pinned is None:
            return
        found.notes += deprecations(product.name, [pinned], today())
        self._log(product, stream, pinned, found)
        for newer in (each for each in versions if each.version > pinned.version):
            for each in incompatibilities(newer, pinned, PINNED):
                text = (
                    f"{product.name} reads {newer.topic} with v{pinned.version} and breaks on"
                    f" v{newer.version}: {each.message}; read v{newer.version} there first,"
                    f" or publish a new major {next_major(newer.topic)}"
                )
                origin = stream.origin
                found.problems.append(Problem("CONSUMER_BREAKS", text, origin.file, origin.line))
            found.notes += self._steps(product, stream, pinned, newer)

    def _log(
        self, product: DataProduct, stream: Stream, pinned: Contract, found: Judgement
    ) -> None:
        """What a consumer cannot read of the log that older versions wrote.

        One that begins later may never meet it: that is a note.
        """
        told_of: set[tuple[str, str]] = set()
        older = [
            each for each in self.versions(stream.contract_name) if each.version < pinned.version
        ]
        for each in reversed(older):
            for gap in incompatibilities(pinned, each, IN_THE_LOG):
                if (gap.path, gap.rule) in told_of:
                    continue
                told_of.add((gap.path, gap.rule))
                text = (
                    f"{product.name} reads {pinned.topic} with v{pinned.version}, from"
                    f" {stream.start}, and cannot read the events of v{each.version} in its log:"
                    f" {gap}, read v{each.version} there, or begin behind those events with start="
                )
                if stream.start == "earliest":
                    origin = stream.origin
                    found.problems.append(
                        Problem("CONSUMER_BREAKS", text, origin.file, origin.line)
                    )
                else:
                    found.notes.append(text)

    def _steps(
        self, product: DataProduct, stream: Stream, pinned: Contract, newer: Contract
    ) -> Iterator[str]:
        """What stands in the way of pinning a newer version; the flows are typed, nothing runs."""
        gone = sorted(pinned.columns.keys() - newer.columns.keys())
        changed = [
            f"{name} is {kind} instead of {pinned.columns[name]}"
            for name, kind in newer.columns.items()
            if name in pinned.columns and pinned.columns[name] != kind
        ]
        columns = [*(f"{name} is gone" for name in gone), *changed]
        mistakes = self._mistakes(product, stream, newer)
        if columns or mistakes:
            reads = f"{product.name} reads {newer.topic} with v{pinned.version}"
            differs = [f"in v{newer.version} {', '.join(columns)}"] if columns else []
            steps = [f"read with v{newer.version}, {each}" for each in mistakes]
            yield "; ".join([reads, *differs, *(steps or ["its steps run on both"])])

    def _version(self, name: str, version: int) -> Contract | None:
        return next((each for each in self.versions(name) if each.version == version), None)

    def _mistakes(self, product: DataProduct, stream: Stream, newer: Contract) -> list[Problem]:
        problems: list[Problem] = []
        pinned = {
            each.contract_name: self._version(each.contract_name, each.contract)
            for each in product.reads
        }
        read = {**pinned, stream.contract_name: newer}
        contracts = {name: each for name, each in read.items() if each is not None}
        tables = held_tables(product, contracts, problems)
        for output in product.outputs:
            if _reads(output, stream):
                target = self._version(output.topic, output.contract)
                plan_between(output, contracts, target, problems, tables)
        return list(told(problems).problems)


def table_format(product: DataProduct) -> Format | None:
    """The format of a product's snapshots; None when it declares none."""
    return None if product.snapshot is None else DEFAULT_FORMAT


def _detours(
    newer: Contract, versions: Sequence[Contract]
) -> Iterator[tuple[str, Contract, Contract]]:
    """Paths that rows of a version, taken by one in between, may have otherwise than the log."""
    before = [each for each in versions if each.version < newer.version]
    for place, between in enumerate(before):
        for first in before[:place]:
            for path in detours(first, between, newer):
                yield path, first, between


def _reads(output: Output, stream: Stream) -> bool:
    """Whether a flow is made of a stream, or joins it as a table."""
    steps = output.flow.steps
    joins = (step for step in steps if isinstance(step, TableJoin))
    read = [*streams_of(output.flow), *(step.table.source for step in joins)]
    return any(each is stream for each in read)


def require_sound_changes(loaded: Iterable[LoadedProduct]) -> None:
    """Raises DeclarationError with all that stops the contracts that these products publish."""
    topics: dict[Path, list[str]] = {}
    for product in loaded:
        topics.setdefault(product.root, []).extend(product.outputs)
    problems = [
        problem
        for root, names in topics.items()
        for problem in Gate(root, readable_products(root)).judge(names).problems
    ]
    if problems:
        raise told(problems)


def readable_products(root: Path) -> list[DataProduct]:
    """The products of a project that can be read; the mistakes of others are not asked for."""
    found = []
    for file in product_files(root):
        try:
            found.append(read_product(file))
        except DeclarationError:
            continue
    return found


def deprecations(reader: str, contracts: Iterable[Contract], day: date) -> list[str]:
    """A warning for each deprecated contract, louder once its day of sunset has come."""
    return [
        f"{reader} reads {each.topic} v{each.version}, which is {fate}"
        for each in contracts
        if (fate := fate_line(each, day)) is not None
    ]


def fate_line(contract: Contract, day: date) -> str | None:
    """What becomes of a contract and what to use instead; None for one that stays."""
    fate = fate_of(contract, day)
    return None if fate is None else f"{fate}: {contract.deprecated}"


def fate_of(contract: Contract, day: date) -> str | None:
    """What becomes of a contract, in words; None for one that stays."""
    if contract.deprecated is None:
        return None
    if contract.sunset is None:
        return "deprecated"
    if contract.sunset <= day:
        return f"PAST ITS SUNSET of {contract.sunset} and may end any day"
    return f"deprecated and ends on {contract.sunset}"


def today() -> date:
    """The day by which sunsets are judged, in UTC."""
    return datetime.now(UTC).date()


def _renames(newer: Contract, versions: Sequence[Contract]) -> Iterator[str]:
    """Renames that no mode refuses: with defaults on both sides every old value is lost."""
    before = [each for each in versions if each.version < newer.version][-1:]
    for older in before:
        refused = {each.path for each in incompatibilities(newer, older, "BACKWARD")}
        for name, former in renamed(newer, older).items():
            if name not in refused:
                yield (
                    f"{newer.topic} v{newer.version}: {name} looks like {former} of"
                    f' v{older.version} renamed; without "aliases": ["{former}"] it reads older'
                    f" events as its default"
                )


def _tightened(newer: Contract, versions: Sequence[Contract]) -> Iterator[str]:
    """Rules that records already in the log were never asked: no mode knows of them."""
    before = [each for each in versions if each.version < newer.version][-1:]
    for older in before:
        for each in tightened(newer, older):
            yield (
                f"{newer.topic} v{newer.version}: {each}, also one that v{older.version} let into"
                " the log"
            )


def _reuses(versions: Sequence[Contract]) -> Iterator[Problem]:
    told_of: set[tuple[str, str]] = set()
    for count, newer in enumerate(versions, 1):
        for each in reused_names(versions[:count]):
            if (each.path, each.other) not in told_of:
                told_of.add((each.path, each.other))
                text = (
                    f"{newer.topic}: {each.path} and {each.other} of v{newer.version} would both"
                    f" hold what {each.former} was, in older events and in the table's column;"
                    f" give the new field another name, or publish a new major"
                    f" {next_major(newer.topic)}"
                )
                yield _at(newer, "NAME_REUSED", text, each.path)


def _at(contract: Contract, code: str, text: str, path: str) -> Problem:
    line = field_line(contract.path.read_text(encoding="utf-8"), path)
    return Problem(code, text, str(contract.path), line or 1)


def _versions(schemas: Path, topic: str) -> Iterator[Contract]:
    if topic_name_mistake(topic):
        return  # told by the declaration that names it
    folder = contract_path(schemas, topic, 1).parent
    numbers = [path.stem.removeprefix("v") for path in folder.glob("v*.avsc")]
    for number in sorted(int(each) for each in numbers if each.isdecimal()):
        try:
            yield load_contract(schemas, topic, number)
        except DeclarationError:
            continue
