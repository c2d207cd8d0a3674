"""What a contract asks of each row: its rules, as they are written in the attributes.

A field says `"rule"`: a text, an object, or a list of them; a record says `"rules"`: a list of
objects. Whether the expressions can be computed is looked at by `rule_language`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from headwater.contract.tree import Mistake, Record, descend
from headwater.model import Code

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}\Z")  # a label of a metric, a word in a log
OWN_NAMES: Final = frozenset({Code.NON_FINITE, Code.FUTURE_EVENT})
"""What every contract is asked; reports name it beside the rules."""
KEYS: Final = frozenset({"name", "check", "severity"})
SHOWN: Final = 120  # characters of an expression in a message; more of it fills a screen
FORM: Final = '{"name": ..., "check": ..., "severity": ...}'


class Severity(StrEnum):
    """What becomes of a record that breaks a rule."""

    REJECT = "reject"
    """The record goes to the dead letters."""
    WARN = "warn"
    """The record is processed; it is counted, and a sample is logged."""
    STOP = "stop"
    """The product stops, and nothing of the transaction is published."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `expression` is SQL over the fields of the contract; false breaks it, null not.

    `field` is the path of the field the rule stands at; None for a rule of the record.
    """

    name: str
    expression: str
    severity: Severity = Severity.REJECT
    field: str | None = None

    def __str__(self) -> str:
        is_long = len(self.expression) > SHOWN
        shown = f"{self.expression[:SHOWN]}..." if is_long else self.expression
        return f"rule {self.name} ({shown})"


class RuleReader:
    """Reads all rules of a contract: `rules`, and `mistakes` for what is none."""

    def __init__(self, schema: Mapping[str, Any], record: Record) -> None:
        self.mistakes: list[Mistake] = []
        read = [*self._of_record(schema), *self._of_fields(record)]
        self.rules = tuple(read)
        for name, times in Counter(each.name for each in read).items():
            if times > 1:
                message = f"{times} rules have the name {name}; give each its own"
                self._wrong(next(each for each in reversed(read) if each.name == name), message)

    def _of_record(self, schema: Mapping[str, Any]) -> Iterator[Rule]:
        given = schema.get("rules", [])
        if not isinstance(given, list):
            self.mistakes.append(Mistake('"rules"', f'"rules" is a list of {FORM}', "BAD_RULE"))
            return
        for each in given:
            yield from self._read(each, None, None)

    def _of_fields(self, record: Record) -> Iterator[Rule]:
        for path, inside in descend(record):
            for field in inside.fields if isinstance(inside, Record) else ():
                given = field.attributes.get("rule", [])
                at = f"{path}.{field.name}".lstrip(".")
                for number, each in enumerate(given if isinstance(given, list) else [given], 1):
                    derived = _label(at) if number == 1 else f"{_label(at)}-{number}"
                    yield from self._read(each, at, derived)

    def _read(self, given: object, field: str | None, derived: str | None) -> Iterator[Rule]:
        """A rule of a field may be a text, named after it; `derived` is None for a record's."""
        is_text = isinstance(given, str) and derived is not None
        entry = {"check": given} if is_text else given
        where = f'"rule" of {field}' if field else '"rules"'
        at = field or '"rules"'
        if not isinstance(entry, Mapping) or not isinstance(entry.get("check"), str):
            or_text = ", or the text of a check" if field else ", a text has no name"
            message = f"{where}: a rule is {FORM}{or_text}"
            self.mistakes.append(Mistake(at, message, "BAD_RULE"))
            return
        name = entry.get("name", derived)
        severity = entry.get("severity", Severity.REJECT)
        reason = None
        if not isinstance(name, str) or not NAME.match(name):
            reason = 'a rule needs a "name" of at most 64 letters, digits, dots, dashes and _'
        elif name in OWN_NAMES:
            reason = f"{name} is asked of every contract; give the rule another name"
        elif severity not in tuple(Severity):
            reason = f'"severity" of {name} is one of {", ".join(Severity)}'
        elif unknown := sorted(entry.keys() - KEYS):
            reason = (
                f"{', '.join(unknown)} of {name} is not known; a rule has name, check, severity"
            )
        if reason is not None:
            self.mistakes.append(Mistake(at, f"{where}: {reason}", "BAD_RULE"))
            return
        yield Rule(str(name), entry["check"], Severity(severity), field)

    def _wrong(self, rule: Rule, message: str) -> None:
        self.mistakes.append(Mistake(rule.field or rule.name, message, "BAD_RULE"))


def _label(path: str) -> str:
    """A path as part of a name: the marks of lists and maps dropped."""
    return path.replace("[]", "").replace("{}", "")
