"""A project on disk: `products/` and `schemas/`. Joins products with contracts and plans.

Collects every mistake before it gives up.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from headwater.assembly.root import PRODUCTS, SCHEMAS, project_root
from headwater.assembly.snapshot_modes import mode_mistakes
from headwater.assembly.source import FILE_NAME, read_product
from headwater.contract import (
    Contract,
    always_null,
    claimed_twice,
    is_lookup_key,
    load_contract,
    misfits,
    required,
)
from headwater.engine import changelog_of
from headwater.errors import DeclarationError, Problem
from headwater.flow import (
    NO_TABLES,
    Columns,
    Ground,
    HeldTable,
    Plan,
    Section,
    TableRows,
    Tables,
    VersionedRows,
    nullable_of,
    sections_of,
    with_shared_topics,
)
from headwater.flow.stage import Around
from headwater.flow.topology import UNTYPED
from headwater.product import (
    DataProduct,
    Flow,
    Map,
    Origin,
    Output,
    Stream,
    StreamJoin,
    Table,
    TableJoin,
)
from headwater.product.names import (
    MAX_TOPIC_LENGTH,
    PRODUCT_NAME,
    contract_mistake,
    folder_of,
    name_of,
    topic_name_mistake,
)


@dataclass(frozen=True, slots=True)
class LoadedProduct:
    """A product without mistakes, with its contracts and plans.

    `inputs` by the contract's name: the topic that is read, be it as a table, or a type of event
    where a topic has several. `tables` by topic, with the rows that all their joins look up.
    `outputs` by topic; `sections` in the order of the data, those of an output together. `file` is
    its product.py.
    """

    product: DataProduct
    root: Path
    file: Path
    inputs: Mapping[str, Contract]
    outputs: Mapping[str, Contract]
    tables: Tables = field(default_factory=dict)
    sections: Sequence[Section] = ()

    @property
    def plans(self) -> dict[str, Plan]:
        """By the topic that their rows go to; of the two sides of a join the right."""
        return {section.sink: section.plan for section in self.sections}

    @property
    def joined(self) -> list[tuple[Section, Section]]:
        """Left and right side of each join of two streams."""
        ends = [each for each in self.sections if each.sink == each.output]
        return [
            (left, right)
            for left in ends
            for right in ends
            if right.is_right and not left.is_right and left.output == right.output
        ]

    @property
    def repartitions(self) -> dict[str, list[Section]]:
        """The sections that read a repartition topic, by that topic."""
        by_topic: dict[str, list[Section]] = {}
        for each in self.sections:
            if each.source is not None:
                by_topic.setdefault(each.source, []).append(each)
        return by_topic

    def output(self, topic: str) -> Output:
        """The declared output of a topic."""
        return next(each for each in self.product.outputs if each.topic == topic)

    @property
    def name(self) -> str:
        """The product's name, which is the topic of its first log."""
        return self.product.name

    def streams(self) -> dict[str, list[Stream]]:
        """The inputs by topic: one stream, or one for each type of event."""
        by_topic: dict[str, list[Stream]] = {}
        for stream in self.product.inputs:
            by_topic.setdefault(stream.topic, []).append(stream)
        return by_topic

    def surrounded(self, around: Around) -> "LoadedProduct":
        """The same product with something around each run of a step."""
        return self.with_plans(lambda plan: plan.surrounded(around))

    def with_plans(self, made: Callable[[Plan], Plan]) -> "LoadedProduct":
        """The same product with the plan that is made of each."""
        sections = [replace(each, plan=made(each.plan)) for each in self.sections]
        return replace(self, sections=sections)

    @property
    def samples(self) -> Path:
        """The folder of its samples; it may not be there."""
        return self.file.parent / "samples"


def product_files(root: Path) -> list[Path]:
    """Every product.py of a project, later majors included, sorted."""
    places = (f"*/*/{FILE_NAME}", f"*/*/v[0-9]*/{FILE_NAME}")
    return sorted(file for place in places for file in (root / PRODUCTS).glob(place))


def find_product(target: str | Path, directory: Path) -> Path:
    """The product.py of a product's name, folder or file. Raises DeclarationError."""
    path = directory / target
    for file in (path, path / FILE_NAME):
        if file.is_file():
            return file.absolute()
    if PRODUCT_NAME.fullmatch(str(target)):
        root = project_root(directory)
        file = root / PRODUCTS / folder_of(str(target)) / FILE_NAME
        if file.is_file():
            return file
        known = [name_of(str(f.parent.relative_to(root / PRODUCTS))) for f in product_files(root)]
        near = difflib.get_close_matches(str(target), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
        text = f"there is no product {target}; {hint}"
    else:
        text = f"{str(target)!r} is neither a product's name nor a folder with a {FILE_NAME}"
    raise DeclarationError([Problem("NO_PRODUCT", text)])


def load_product(target: str | Path, directory: Path | None = None) -> LoadedProduct:
    """The product of this name, folder or file, seen from `directory` (default: the current one).

    Raises DeclarationError with every mistake in its declaration, contracts and flows.
    """
    try:
        file = find_product(target, directory or Path.cwd())
        return complete(read_product(file), file)
    except DeclarationError as error:
        raise told(error.problems) from error


def complete(product: DataProduct, file: Path, root: Path | None = None) -> LoadedProduct:
    """Join a declaration with its contracts and plans. Raises DeclarationError.

    `root` is that of a candidate's contracts, which may stand anywhere; by default the file's own
    project, and then the file must stand where the product's name says.
    """
    problems = [*product.problems]
    if root is None:
        root = project_root(file.parent)
        problems += _place_mistakes(product, file, root)
    inputs, outputs, sections = {}, {}, list[Section]()
    for stream in product.reads:
        contract = _contract(root, stream.contract_name, stream.contract, stream.origin, problems)
        if contract is not None:
            inputs[stream.contract_name] = contract
    problems += _claim_mistakes(product, inputs)
    tables = held_tables(product, inputs, problems)
    for output in product.outputs:
        contract = _contract(root, output.topic, output.contract, output.origin, problems)
        if contract is not None:
            outputs[output.topic] = contract
        sections += sections_between(output, inputs, contract, problems, tables)
    problems += _order_mistakes(product, inputs, sections)
    problems += mode_mistakes(product, outputs, inputs)
    if problems:
        raise DeclarationError(list(dict.fromkeys(problems)))
    shared = with_shared_topics({each.topic: each.flow for each in product.outputs}, sections)
    return LoadedProduct(product, root, file, inputs, outputs, tables, shared)


def held_tables(
    product: DataProduct, contracts: Mapping[str, Contract], problems: list[Problem]
) -> dict[str, HeldTable]:
    """The tables of a product, empty, with the columns that its joins want.

    `contracts` by topic; a table without one is left out.
    """
    found: dict[str, HeldTable] = {}
    for table in product.tables:
        contract = contracts.get(table.topic)
        if contract is None:
            continue
        if mistake := _table_mistake(table, contract):
            problems.append(mistake)
            continue
        (key,) = contract.key
        wanted = {key, *_joined(product, table, contract)}
        columns = {name: kind for name, kind in contract.columns.items() if name in wanted}
        kind = VersionedRows if table.versioned else TableRows
        rows = kind(key, columns, by_task=not table.broadcast)
        found[table.topic] = HeldTable(contract, rows)
    return found


def _table_mistake(table: Table, contract: Contract) -> Problem | None:
    """Why the rows of a topic cannot be held as the table wants them."""
    origin, named = table.source.origin, f"{table.topic} v{contract.version}"
    if not is_lookup_key(contract):
        text = (
            f"{named} has no key that a column can be compared with;"
            ' a table has a "key" of one field, a string, int or long'
        )
        return Problem("TABLE_KEY", text, origin.file, origin.line)
    if table.versioned and contract.event_time is None:
        text = f'{named} has no "eventTime", since when its rows are valid; a versioned table does'
        return Problem("NO_EVENT_TIME", text, origin.file, origin.line)
    return None


def _joined(product: DataProduct, table: Table, contract: Contract) -> Iterator[str]:
    """The columns of a table that joins take; the others are not held."""
    for output in product.outputs:
        for step in output.flow.steps:
            if isinstance(step, TableJoin) and step.table is table:
                yield from contract.columns if step.columns is None else step.columns


def told(problems: Iterable[Problem]) -> DeclarationError:
    """The problems in the order of files and lines, with paths as seen from here."""
    shown = [replace(problem, file=from_here(problem.file)) for problem in problems]
    shown.sort(key=lambda problem: (problem.file or "", problem.line or 0))
    return DeclarationError(list(dict.fromkeys(shown)))


def from_here(file: str | None) -> str | None:
    """A path as people type it: relative where the file is below the current directory."""
    if file is None or not Path(file).is_absolute():
        return file
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative


def _place_mistakes(product: DataProduct, file: Path, root: Path) -> list[Problem]:
    expected = root / PRODUCTS / folder_of(str(product.name)) / FILE_NAME
    inside = file.is_relative_to(root / PRODUCTS) and file.name == FILE_NAME
    if not inside or file == expected or not PRODUCT_NAME.fullmatch(str(product.name)):
        return []
    text = f"{product.name} belongs into {expected.parent.relative_to(root)}; move it or rename it"
    return [Problem("WRONG_FOLDER", text, product.origin.file, product.origin.line)]


def _contract(
    root: Path, topic: str, version: int, origin: Origin, problems: list[Problem]
) -> Contract | None:
    if topic_name_mistake(topic) or contract_mistake(version):
        return None  # told by the declaration itself
    try:
        return load_contract(root / SCHEMAS, topic, version)
    except DeclarationError as error:
        for problem in error.problems:
            # A missing file is the declaration's mistake: it names the wrong topic or version.
            at = (origin.file, origin.line) if problem.code == "NO_CONTRACT" else None
            file, line = at or (problem.file, problem.line)
            problems.append(replace(problem, file=file, line=line))
        return None


def _claim_mistakes(product: DataProduct, inputs: Mapping[str, Contract]) -> Iterator[Problem]:
    """Types of events of one topic that two of its contracts would take."""
    topics: dict[str, list[Stream]] = {}
    for stream in product.inputs:
        if stream.event is not None and stream.event in inputs:
            topics.setdefault(stream.topic, []).append(stream)
    for topic, streams in topics.items():
        contracts = [inputs[each.contract_name] for each in streams]
        for name, first, other in claimed_twice(contracts):
            text = (
                f"{topic}: {first.topic} v{first.version} and {other.topic} v{other.version} both"
                f" take the records named {name}, by name or alias; read one of them, or take"
                " that alias out of the other"
            )
            origin = streams[0].origin
            yield Problem("TYPE_CLAIMED_TWICE", text, origin.file, origin.line)


def _order_mistakes(
    product: DataProduct, inputs: Mapping[str, Contract], sections: Sequence[Section]
) -> Iterator[Problem]:
    """What `keep_order` asks of a product: inputs with keys, and letters that can be replayed."""
    if not product.dead_letters.keep_order:
        return
    for stream in product.inputs:
        contract, origin = inputs.get(stream.contract_name), stream.origin
        changelog = changelog_of(f"{product.name}.dead-letters", stream.topic)
        if len(changelog) > MAX_TOPIC_LENGTH:
            text = f"{changelog} is too long for a topic of Kafka, and keep_order=True needs it"
            yield Problem("INVALID_NAME", text, origin.file, origin.line)
        if contract is not None and not contract.key:
            text = (
                f"{contract.topic} v{contract.version} has no key, and without one no record waits"
                " for another; leave out keep_order=True, or read a contract with a key"
            )
            yield Problem("ORDER_WITHOUT_KEY", text, origin.file, origin.line)
    outputs = {output.topic: output for output in product.outputs}
    kept = {
        each.output for each in sections if each.source is not None or each.plan.needs_watermarks
    }
    for topic in sorted(kept):
        text = (
            f"{topic} has steps with state, late rows or another key: the order of letters is kept "
            "of products without these only; leave out keep_order=True"
        )
        origin = outputs[topic].origin
        yield Problem("ORDER_WITH_STATE", text, origin.file, origin.line)


def plan_between(
    output: Output,
    inputs: Mapping[str, Contract],
    target: Contract | None,
    problems: list[Problem],
    tables: Tables = NO_TABLES,
) -> Plan | None:
    """The plan between two contracts, the last where the key changes; see `sections_between`."""
    found = sections_between(output, inputs, target, problems, tables)
    return found[-1].plan if found else None


def sections_between(
    output: Output,
    inputs: Mapping[str, Contract],
    target: Contract | None,
    problems: list[Problem],
    tables: Tables = NO_TABLES,
) -> list[Section]:
    """The sections between two contracts; without the target the flow is checked all the same.

    `inputs` are the contracts of the streams, by name. None when there are mistakes, which are
    added to `problems`.
    """
    if not all(stream.contract_name in inputs for stream in streams_of(output.flow)):
        return []
    source = inputs[output.flow.stream.contract_name]
    try:
        typed = (target.columns, target.defaults) if target else UNTYPED
        ground = Ground(source.key, tables, source.event_time, inputs)
        sections = sections_of(output.flow, output.topic, source.columns, typed, ground)
    except DeclarationError as error:
        untyped = target is None
        problems += [p for p in error.problems if not (untyped and p.code == "UNTYPED_EVENTS")]
        return []
    plan = sections[-1].plan
    origin = output.origin
    if target is not None and plan.columns is not None:
        problems += [
            Problem("OUTPUT_MISFIT", f"{output.topic}: {reason}", origin.file, origin.line)
            for reason in [
                *_misfits(output, target, plan.columns),
                *required(target, nullable_of(sections)),
            ]
        ]
    return sections


def streams_of(flow: Flow) -> list[Stream]:
    """The streams that a flow is made of, its own first."""
    joins = (step for step in flow.steps if isinstance(step, StreamJoin))
    return [flow.stream, *(step.right for step in joins)]


def _misfits(output: Output, target: Contract, columns: Columns) -> list[str]:
    reasons = misfits(target, columns)
    if any(isinstance(step, Map) for step in output.flow.steps):
        return reasons  # an author's `map` may make a column typed by its rows alone
    return [*reasons, *always_null(target, columns)]
