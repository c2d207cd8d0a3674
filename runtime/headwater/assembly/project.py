"""A project on disk: `products/` and `schemas/`. Joins products with contracts and plans.

Collects every mistake before it gives up.
"""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from headwater.assembly.root import PRODUCTS, SCHEMAS, project_root
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
from headwater.flow import NO_TABLES, Columns, Ground, HeldTable, Plan, TableRows, Tables
from headwater.flow.stage import Around
from headwater.product import DataProduct, Join, Map, Origin, Output, Stream, Table
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
    `outputs` and `plans` by output topic; `file` is its product.py.
    """

    product: DataProduct
    root: Path
    file: Path
    inputs: Mapping[str, Contract]
    outputs: Mapping[str, Contract]
    plans: Mapping[str, Plan]
    tables: Tables = field(default_factory=dict)

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
        plans = {topic: plan.surrounded(around) for topic, plan in self.plans.items()}
        return replace(self, plans=plans)

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
    inputs, outputs, plans = {}, {}, {}
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
        source = inputs.get(output.flow.stream.contract_name)
        plan = plan_between(output, source, contract, problems, tables)
        if plan is not None:
            plans[output.topic] = plan
    problems += _order_mistakes(product, inputs, plans)
    if problems:
        raise DeclarationError(list(dict.fromkeys(problems)))
    return LoadedProduct(product, root, file, inputs, outputs, plans, tables)


def held_tables(
    product: DataProduct, contracts: Mapping[str, Contract], problems: list[Problem]
) -> dict[str, HeldTable]:
    """The broadcast tables of a product, empty, with the columns that its joins want.

    `contracts` by topic; a table without one is left out.
    """
    found: dict[str, HeldTable] = {}
    for table in product.tables:
        contract = contracts.get(table.topic)
        if contract is None:
            continue
        if not is_lookup_key(contract):
            text = (
                f"{table.topic} v{contract.version} has no key that a column can be compared with;"
                ' a table has a "key" of one field, a string, int or long'
            )
            origin = table.source.origin
            problems.append(Problem("TABLE_KEY", text, origin.file, origin.line))
            continue
        (key,) = contract.key
        wanted = {key, *_joined(product, table, contract)}
        columns = {name: kind for name, kind in contract.columns.items() if name in wanted}
        found[table.topic] = HeldTable(contract, TableRows(key, columns))
    return found


def _joined(product: DataProduct, table: Table, contract: Contract) -> Iterator[str]:
    """The columns of a table that joins take; the others are not held."""
    for output in product.outputs:
        for step in output.flow.steps:
            if isinstance(step, Join) and step.table is table:
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
    product: DataProduct, inputs: Mapping[str, Contract], plans: Mapping[str, Plan]
) -> Iterator[Problem]:
    """What `keep_order` asks of a product: inputs with keys, and letters that can be replayed."""
    if not product.dead_letters.keep_order:
        return
    for stream in product.inputs:
        contract = inputs.get(stream.contract_name)
        changelog = changelog_of(f"{product.name}.dead-letters", stream.topic)
        if len(changelog) > MAX_TOPIC_LENGTH:
            text = f"{changelog} is too long for a topic of Kafka, and keep_order=True needs it"
            yield Problem("INVALID_NAME", text, stream.origin.file, stream.origin.line)
        if contract is not None and not contract.key:
            text = (
                f"{contract.topic} v{contract.version} has no key, and without one no record waits"
                " for another; leave out keep_order=True, or read a contract with a key"
            )
            yield Problem("ORDER_WITHOUT_KEY", text, stream.origin.file, stream.origin.line)
    for output in product.outputs:
        plan = plans.get(output.topic)
        for stage in plan.stateful if plan is not None else ():
            text = (
                f"{output.topic} has a step with state, {stage.step.name}: its letters cannot be"
                " replayed, so none may wait for them; leave out keep_order=True"
            )
            yield Problem("ORDER_WITH_STATE", text, output.origin.file, output.origin.line)


def plan_between(
    output: Output,
    source: Contract | None,
    target: Contract | None,
    problems: list[Problem],
    tables: Tables = NO_TABLES,
) -> Plan | None:
    """The plan between two contracts; without the target the flow is checked all the same."""
    if source is None:
        return None
    try:
        columns, defaults = (target.columns, target.defaults) if target else (None, None)
        ground = Ground(source.key, tables)
        plan = Plan(output.flow, source.columns, columns, defaults, ground)
    except DeclarationError as error:
        untyped = target is None
        problems += [p for p in error.problems if not (untyped and p.code == "UNTYPED_EVENTS")]
        return None
    origin = output.origin
    if target is not None and plan.columns is not None:
        problems += [
            Problem("OUTPUT_MISFIT", f"{output.topic}: {reason}", origin.file, origin.line)
            for reason in [
                *_misfits(output, target, plan.columns),
                *required(target, plan.nullable),
            ]
        ]
    return plan


def _misfits(output: Output, target: Contract, columns: Columns) -> list[str]:
    reasons = misfits(target, columns)
    if any(isinstance(step, Map) for step in output.flow.steps):
        return reasons  # an author's `map` may make a column typed by its rows alone
    return [*reasons, *always_null(target, columns)]
