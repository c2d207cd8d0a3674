"""Samples of a product: events in, and what must come out. One case is some files.

`<case>.in.jsonl`            events of the input; `<case>.in.<topic>.jsonl` where there are several;
                             "_type" names the contract of each where a topic has several types
`<case>.table.<topic>.jsonl` the rows of a table, before the first event
`<case>.out.jsonl`           what the first log must hold; `<case>.out.<port>.jsonl` for a port
`<case>.dead-letters.jsonl`  {"event": N, "code": "..."} for the Nth event of the input, from 1;
                             with "topic" first where there are several inputs

A file that is not there stands for an empty one.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headwater.assembly.driver import DeadLetter, ProductDriver
from headwater.assembly.plain import PlainValueError, canonical, line_of, plain_events
from headwater.contract import Contract, Severity
from headwater.errors import DeclarationError, Problem
from headwater.model import RuleViolation

SUFFIX: Final = ".jsonl"
FIRST_LOG: Final = "out"
TABLE: Final = "table"
DEAD_LETTERS: Final = "dead-letters"
BAD_SAMPLE: Final = "BAD_SAMPLE"


@dataclass(frozen=True, slots=True)
class Case:
    """One case: its files by what they hold ("in", "in.<topic>", "table.<topic>", "out", ...)."""

    name: str
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Result:
    """What a case came to: no difference when it passed; warnings of rules are none."""

    case: str
    events_in: int
    events_out: int
    dead_letters: int
    differences: Sequence[str]
    warnings: Sequence[str] = ()


def cases(folder: Path) -> list[Case]:
    """The cases of a samples folder; empty when there is none. Raises DeclarationError."""
    by_name: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        name, _, part = path.name.removesuffix(SUFFIX).partition(".")
        by_name.setdefault(name, {})[part] = path
    problems = [
        Problem(BAD_SAMPLE, f"case {name} has no input; write {name}.in{SUFFIX}", str(folder))
        for name, files in by_name.items()
        if not any(part == "in" or part.startswith("in.") for part in files)
    ]
    problems += [
        Problem(
            BAD_SAMPLE, f"no part of a case is called {part!r}; see the samples' layout", str(path)
        )
        for files in by_name.values()
        for part, path in files.items()
        if part != DEAD_LETTERS and part.partition(".")[0] not in {"in", TABLE, FIRST_LOG}
    ]
    if problems:
        raise DeclarationError(problems)
    return [Case(name, files) for name, files in by_name.items()]


def inputs_of(case: Case, driver: ProductDriver) -> dict[str, list[dict[str, Any]]]:
    """The events of a case by input topic. Raises DeclarationError."""
    topics = list(driver.loaded.streams())
    found = {}
    for part, path in case.files.items():
        kind, _, topic = part.partition(".")
        if kind != "in":
            continue
        if (topic or topics[0]) not in topics or (not topic and len(topics) > 1):
            text = f"name the input: {case.name}.in.<topic>{SUFFIX}, one of {', '.join(topics)}"
            raise DeclarationError([Problem(BAD_SAMPLE, text, str(path))])
        found[topic or topics[0]] = [event for _, event in _lines(path)]
    return found


def give_tables(case: Case, driver: ProductDriver) -> None:
    """Let the driver's tables hold what the case says. Raises DeclarationError."""
    files = {
        part.partition(".")[2]: path
        for part, path in case.files.items()
        if part.partition(".")[0] == TABLE
    }
    for topic, path in files.items():
        if topic not in driver.loaded.tables:
            known = ", ".join(driver.loaded.tables) or "none"
            text = f"name a table: {case.name}.{TABLE}.<topic>{SUFFIX}; there are: {known}"
            raise DeclarationError([Problem(BAD_SAMPLE, text, str(path))])
    for topic in driver.loaded.tables:
        rows = [event for _, event in _lines(files[topic])] if topic in files else []
        driver.table(topic, rows)


def run_case(case: Case, driver: ProductDriver) -> Result:
    """Run a case and compare. Raises DeclarationError for a mistake in samples or product."""
    inputs = inputs_of(case, driver)
    give_tables(case, driver)
    outcome = driver.run(inputs)
    loaded = driver.loaded
    differences: list[str] = []
    for output in loaded.product.outputs:
        part = FIRST_LOG if output.port is None else f"{FIRST_LOG}.{output.port}"
        path = case.files.get(part)
        made = [line_of(event) for event in plain_events(outcome.frames[output.topic])]
        expected = [] if path is None else _expected(path, loaded.outputs[output.topic])
        differences += _diff(expected, made, f"{case.name}.{part}{SUFFIX}")
    path = case.files.get(DEAD_LETTERS)
    expected = [] if path is None else [line_of(event) for _, event in _lines(path)]
    letters = _letter_lines(outcome.dead_letters, loaded.streams())
    differences += _diff(expected, letters, f"{case.name}.{DEAD_LETTERS}{SUFFIX}")
    return Result(
        case.name,
        events_in=sum(map(len, inputs.values())),
        events_out=sum(frame.height for frame in outcome.frames.values()),
        dead_letters=len(outcome.dead_letters),
        differences=differences,
        warnings=[_warning(each) for each in outcome.violations if each.severity == Severity.WARN],
    )


def _warning(violation: RuleViolation) -> str:
    where = f"event {violation.offset + 1} of {violation.partition.topic}"
    more = f", and {violation.records - 1} more" if violation.records > 1 else ""
    return f"rule {violation.rule} of {violation.topic} is broken by {where}{more}"


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except json.JSONDecodeError as error:
            text = f"is no JSON: {error.msg}; write one object per line"
            raise DeclarationError([Problem(BAD_SAMPLE, text, str(path), number)]) from error
        if not isinstance(event, dict):
            text = "is no JSON object; write one object per line"
            raise DeclarationError([Problem(BAD_SAMPLE, text, str(path), number)])
        yield number, event


def _expected(path: Path, contract: Contract) -> list[str]:
    """Expected events, written as ours are: the order of fields and the form of times are free."""
    lines = []
    for number, event in _lines(path):
        try:
            lines.append(line_of(canonical(event, contract)))
        except PlainValueError as error:
            raise DeclarationError([Problem(BAD_SAMPLE, str(error), str(path), number)]) from error
    return lines


def _letter_lines(letters: Sequence[DeadLetter], topics: Mapping[str, Any]) -> list[str]:
    """Dead letters as the samples write them."""
    return [
        line_of(
            ({"topic": letter.topic} if len(topics) > 1 else {})
            | {"event": letter.row + 1, "code": letter.code.value}
        )
        for letter in letters
    ]


def _diff(expected: Sequence[str], made: Sequence[str], name: str) -> list[str]:
    return list(difflib.unified_diff(expected, made, f"{name} (expected)", "made", "", "", 1, ""))
