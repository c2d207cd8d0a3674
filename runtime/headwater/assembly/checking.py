"""Everything that can be wrong in a project, found before anything touches Kafka."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headwater.assembly.driver import ProductDriver
from headwater.assembly.gate import Gate, fate_line, readable_products, today
from headwater.assembly.graph import between
from headwater.assembly.project import complete, find_product, product_files, told
from headwater.assembly.published import changed_in_registry, changed_since
from headwater.assembly.references import reference_problems
from headwater.assembly.root import SCHEMAS, project_root
from headwater.assembly.samples import cases, give_tables, inputs_of
from headwater.assembly.source import FILE_NAME, read_product
from headwater.contract import Contract, load_contract
from headwater.errors import DeclarationError, Problem
from headwater.ports import Registry
from headwater.product import DataProduct
from headwater.product.names import folder_of, name_of, topic_name_mistake

VERSION: Final = re.compile(r"v([1-9][0-9]*)")


@dataclass(slots=True)
class Checked:
    """What was checked, and every mistake found. `unproved` are products without samples.

    `notes` are no mistakes, but good to know before a change is released.
    """

    products: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)
    contracts: list[str] = field(default_factory=list)
    details: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: int = 0
    problems: list[Problem] = field(default_factory=list)


def check(
    targets: Sequence[str],
    directory: Path,
    *,
    base: str | None = None,
    registry: Registry | None = None,
) -> Checked:
    """Check products (names, folders, files) and contracts (files, folders); all without targets.

    Products that are not targets are read too: cycles and names are the whole project's.
    With `base`, a branch, tag or commit of git, no contract may differ from it; with `registry`,
    no schema there from the contracts that products of the project publish.
    Raises DeclarationError with every mistake, and UnavailableError of the registry.
    """
    checked = Checked()
    found = _Targets(checked, directory)
    for target in targets or (str(project_root(directory)),):
        found.add(target)
    for path in found.contracts:
        _check_contract(path, checked)
    declared = {file: product for file in found.products if (product := _read(file, checked))}
    for file, product in declared.items():
        _check_product(product, file, checked)
    neighbours = list(_neighbours(declared))
    checked.problems += between([*declared.values(), *neighbours])
    for root, gate, topics in _gates(found, [*declared.values(), *neighbours]):
        judged = gate.judge(topics)
        checked.problems += judged.problems
        checked.notes += judged.notes
        if base is not None:
            checked.problems += changed_since(root, base)
        if registry is not None:
            checked.problems += changed_in_registry(gate.published(topics), registry)
    if checked.problems:
        raise told(checked.problems)
    return checked


class _Targets:
    """The product files and contract files that were asked for."""

    def __init__(self, checked: Checked, directory: Path) -> None:
        self.products: dict[Path, None] = {}
        self.contracts: dict[Path, None] = {}
        self._checked = checked
        self._directory = directory

    def add(self, target: str) -> None:
        path = (self._directory / target).absolute()
        if path.suffix == ".avsc":
            self.contracts[path] = None
        elif path.is_dir() and not (path / FILE_NAME).is_file():
            self._add_folder(path)
        else:
            try:
                self.products[find_product(target, self._directory)] = None
            except DeclarationError as error:
                self._checked.problems += error.problems

    def _add_folder(self, folder: Path) -> None:
        root = project_root(folder)
        inside = [f for f in product_files(root) if f.is_relative_to(folder)]
        schemas = [f for f in sorted((root / SCHEMAS).rglob("*.avsc")) if f.is_relative_to(folder)]
        self.products.update(dict.fromkeys(inside))
        self.contracts.update(dict.fromkeys(schemas))
        if not inside and not schemas:
            text = f"there is neither a {FILE_NAME} nor a contract below {folder.name}"
            self._checked.problems.append(Problem("NOTHING_TO_CHECK", text))


def _gates(
    found: "_Targets", products: Sequence[DataProduct]
) -> Iterator[tuple[Path, Gate, list[str]]]:
    """A gate for each project, with the topics of what was asked for, read or published."""
    topics: dict[Path, dict[str, None]] = {}
    for path in found.contracts:
        root = project_root(path.parent)
        if (topic := _named(path, root / SCHEMAS)) is not None:
            topics.setdefault(root, {})[topic] = None
    for product in products:
        file = Path(product.origin.file)
        if file in found.products:
            touched = [each.contract_name for each in product.reads]
            touched += [each.topic for each in product.outputs]
            topics.setdefault(project_root(file.parent), {}).update(dict.fromkeys(touched))
    for root, names in topics.items():
        readers = [each for each in products if Path(each.origin.file).is_relative_to(root)]
        yield root, Gate(root, readers or readable_products(root)), list(names)


def _check_contract(path: Path, checked: Checked) -> None:
    root = project_root(path.parent) / SCHEMAS
    topic, version = _named(path, root), VERSION.fullmatch(path.stem)
    if topic is None or version is None:
        text = (
            f"a contract stands at {SCHEMAS}/<domain>/<product>/v<N>.avsc, N from 1, the folders in"
            " lower case with underscores inside, a later major in v2 and on; move or rename it"
        )
        checked.problems.append(Problem("STRAY_CONTRACT", text, str(path)))
        return
    checked.contracts.append(f"{topic} v{version[1]}")
    try:
        contract = load_contract(root, topic, int(version[1]))
        checked.details.append(_details(contract))
        checked.problems += reference_problems(root, contract)
    except DeclarationError as error:
        checked.problems += error.problems


def _details(contract: Contract) -> dict[str, object]:
    return {
        "topic": contract.topic,
        "version": contract.version,
        "compatibility": contract.compatibility,
        "deprecated": contract.deprecated,
        "sunset": contract.sunset.isoformat() if contract.sunset else None,
        "fate": fate_line(contract, today()),
    }


def _named(path: Path, root: Path) -> str | None:
    """The topic whose contracts stand in the folder of `path`; None when that names none."""
    if not path.is_relative_to(root):
        return None
    folder = path.parent.relative_to(root).as_posix()
    topic = name_of(folder)
    return None if topic_name_mistake(topic) or folder_of(topic) != folder else topic


def _read(file: Path, checked: Checked) -> DataProduct | None:
    try:
        return read_product(file)
    except DeclarationError as error:
        checked.problems += error.problems
        return None


def _check_product(product: DataProduct, file: Path, checked: Checked) -> None:
    checked.products.append(product.name)
    try:
        loaded = complete(product, file)
        driver = ProductDriver(loaded)
        found = cases(loaded.samples)
        if not found:
            checked.unproved.append(product.name)
        for case in found:
            checked.samples += 1
            give_tables(case, driver)
            driver.check_row_local(inputs_of(case, driver))
    except DeclarationError as error:
        checked.problems += error.problems


def _neighbours(declared: Mapping[Path, DataProduct]) -> Iterator[DataProduct]:
    """The other products of the same projects; their own mistakes are not asked for here."""
    files = {f for file in declared for f in product_files(project_root(file.parent))}
    for file in sorted(files - declared.keys()):
        try:
            yield read_product(file)
        except DeclarationError:
            continue
