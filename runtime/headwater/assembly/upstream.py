"""Where the records of a contract come from: its subject in the registry, and how it is read."""

from dataclasses import dataclass
from pathlib import Path

from headwater.assembly.gate import readable_products
from headwater.assembly.root import SCHEMAS
from headwater.assembly.subjects import value_subject
from headwater.assembly.topic_schemas import subject_of
from headwater.contract import load_contract, record_name
from headwater.errors import DeclarationError, Problem
from headwater.ports import RegisteredSchema
from headwater.product import Stream, Subjects
from headwater.product.names import event_name, topic_name_mistake


@dataclass(frozen=True, slots=True)
class Upstream:
    """A contract that others write: `contract` is its name below `schemas/`.

    `is_typed` where it is one of several types of events in the topic. `topic` is None where
    nothing names it: a subject of the record strategy does not.
    """

    contract: str
    subject: str
    topic: str | None
    subjects: Subjects = "topic"
    is_typed: bool = False

    def call(self, version: int) -> str:
        """The call that reads it, as a product's author writes it."""
        topic = "TOPIC" if self.topic is None else f'"{self.topic}"'
        contract = f'contracts=[("{self.contract}", {version})]'
        usual = "topic-record"
        if not self.is_typed:
            contract, usual = f"contract={version}", "topic"
        named = "" if self.subjects == usual else f', subjects="{self.subjects}"'
        return f"product.stream({topic}, {contract}{named})"


def declared(root: Path, name: str) -> list[Upstream]:
    """What the inputs of the project's products say of this contract, each subject once."""
    found = {}
    for product in readable_products(root):
        for stream in product.inputs:
            if stream.contract_name == name:
                subject = _subject(root, stream)
                if subject is not None:
                    typed = stream.event is not None
                    found[subject] = Upstream(name, subject, stream.topic, stream.subjects, typed)
    return list(found.values())


def subject_for(root: Path, name: str, given: str | None) -> str:
    """The subject to ask for: the given one, the one that an input declares, or the topic's own.

    Raises DeclarationError (SEVERAL_SUBJECTS) where inputs declare different ones.
    """
    if given is not None:
        return given
    known = [each.subject for each in declared(root, name)]
    if len(known) > 1:
        text = f"{name} is read under {' and '.join(known)}; name one of them with --subject"
        raise DeclarationError([Problem("SEVERAL_SUBJECTS", text)])
    return known[0] if known else value_subject(name)


def upstream_of(root: Path, name: str, found: RegisteredSchema) -> Upstream:
    """Where a registered schema belongs, asked for by the name of a topic or of a contract.

    A schema under a subject that names its record is one type of event of a topic: its contract is
    named after the event, unless an input has a name for it, or `name` is that name.
    Raises DeclarationError (INVALID_NAME).
    """
    if mistake := topic_name_mistake(name):
        raise DeclarationError([Problem("INVALID_NAME", mistake)])
    subject, record = str(found.subject), record_name(found.schema)
    for each in declared(root, name):
        if each.subject == subject:
            return each
    if record is None or subject == value_subject(name):
        return Upstream(name, subject, name)
    if subject == record:
        event = event_name(name, record) or name
        topic = None if event == name else name
        return Upstream(event, subject, topic, "record", is_typed=True)
    if subject.endswith(f"-{record}"):
        topic = subject.removesuffix(f"-{record}")
        event = (event_name(name, record) or name) if name == topic else name
        return Upstream(event, subject, topic, "topic-record", is_typed=True)
    return Upstream(name, subject, name)


def events_of(root: Path, topic: str) -> list[str]:
    """The contracts that inputs read a topic of several types of events with."""
    streams = (stream for product in readable_products(root) for stream in product.inputs)
    events = (each.event for each in streams if each.topic == topic and each.event is not None)
    return list(dict.fromkeys(events))


def _subject(root: Path, stream: Stream) -> str | None:
    """None where the contract, whose record the subject names, cannot be read."""
    record = None
    if stream.subjects != "topic":
        try:
            contract = load_contract(root / SCHEMAS, stream.contract_name, stream.contract)
        except DeclarationError:
            return None
        record = record_name(contract.text)
    return subject_of(stream.topic, stream.subjects, record)
