"""What contracts refer to in each other: the topics whose keys their rules look up."""

from collections.abc import Iterator
from pathlib import Path

from headwater.contract import Contract, contract_path, load_contract
from headwater.contract.dataset import References, reference_mistakes
from headwater.contract.document import field_line
from headwater.errors import DeclarationError, Problem


def newest_contract(schemas: Path, topic: str) -> Contract:
    """The newest contract of a topic below the folder `schemas`.

    Raises DeclarationError when there is none, or it has mistakes.
    """
    folder = contract_path(schemas, topic, 1).parent
    numbers = [path.stem.removeprefix("v") for path in folder.glob("v*.avsc")]
    newest = max((int(each) for each in numbers if each.isdecimal()), default=1)
    return load_contract(schemas, topic, newest)


def reference_problems(schemas: Path, contract: Contract) -> Iterator[Problem]:
    """Why what a contract refers to cannot be looked up."""
    for rule in contract.dataset:
        if isinstance(rule, References):
            for message in _mistakes(schemas, contract, rule):
                line = field_line(contract.path.read_text(encoding="utf-8"), rule.name)
                yield Problem("BAD_RULE", message, str(contract.path), line)


def _mistakes(schemas: Path, contract: Contract, rule: References) -> Iterator[str]:
    if not contract_path(schemas, rule.topic, 1).parent.is_dir():
        yield f"{rule.name}: there is no contract of {rule.topic} to refer to"
        return
    try:
        other = newest_contract(schemas, rule.topic)
    except DeclarationError:  # its own mistakes are told where it is checked
        return
    yield from reference_mistakes(rule, contract.columns, other.columns)
