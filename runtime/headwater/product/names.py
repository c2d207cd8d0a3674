"""The syntax of names: `domain.product`, majors, ports, topics, and how they map to folders.

A later major of a product is a product of its own beside it: `domain.product.v2`.
"""

import re
from collections.abc import Mapping
from typing import Final

_PART: Final = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_MAJOR: Final = r"v(?:[2-9]|[1-9][0-9]+)"  # the first major has no suffix
PRODUCT_NAME: Final = re.compile(rf"{_PART}\.{_PART}(?:\.{_MAJOR})?")
PORT_NAME: Final = re.compile(_PART)
TOPIC_NAME: Final = re.compile(rf"{_PART}\.{_PART}(?:\.{_PART})*")
NO_MAJOR: Final = re.compile(rf"{_PART}\.{_PART}\.(?!{_MAJOR}(?:\.|$))v[0-9]+(?:\..*)?")
WORD: Final = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+")  # of CamelCase
RESERVED_PORT: Final = re.compile(r"v[0-9]+|dead-letters|changelog|repartition")
MAX_TOPIC_LENGTH: Final = 249  # Kafka's limit on a topic name, in characters
LONGEST_SUFFIX: Final = len(".dead-letters")  # what we may append to a product's name


def folder_of(name: str) -> str:
    """The folder below its root: dots become slashes, dashes underscores."""
    return name.replace(".", "/").replace("-", "_")


def name_of(folder: str) -> str:
    """The name that belongs to a folder; the inverse of `folder_of`."""
    return folder.replace("/", ".").replace("_", "-")


def product_name_mistake(name: object) -> str | None:
    """What is wrong with a product's name; None when it is right."""
    if not isinstance(name, str) or not PRODUCT_NAME.fullmatch(name):
        return (
            f"{name!r} is no product name; write '<domain>.<product>' in lower case,"
            " with dashes inside, such as 'operations.departure-delays'; a later major ends in .v2"
        )
    if len(name) + LONGEST_SUFFIX > MAX_TOPIC_LENGTH:
        return f"a product name of {len(name)} characters is too long for Kafka; shorten it"
    return None


def topic_name_mistake(topic: object) -> str | None:
    """What is wrong with an input topic's name; None when it is right."""
    if not isinstance(topic, str) or not TOPIC_NAME.fullmatch(topic):
        return (
            f"{topic!r} is no topic of a product;"
            " write '<domain>.<product>' or '<domain>.<product>.<port>'"
        )
    if NO_MAJOR.fullmatch(topic):
        return f"{topic!r} is no topic of a product; a first major has no suffix, the next has .v2"
    return None


def event_name(topic: str, record: str) -> str | None:
    """The name of a contract for one type of event of a topic: `shop.gate-opened`.

    `record` is the full name of its Avro record. None where no name can be made of it.
    """
    words = "-".join(WORD.findall(record.rpartition(".")[2])).lower()
    name = f"{topic.partition('.')[0]}.{words}"
    return name if TOPIC_NAME.fullmatch(name) else None


def port_name_mistake(port: object) -> str | None:
    """What is wrong with a port's name; None when it is right."""
    if not isinstance(port, str) or not PORT_NAME.fullmatch(port):
        return f"{port!r} is no port name; write it in lower case with dashes inside"
    if RESERVED_PORT.fullmatch(port):
        return f"the port name {port!r} is reserved for topics of the runtime; choose another"
    return None


def contract_mistake(contract: object) -> str | None:
    """What is wrong with a contract version; None when it is right."""
    if isinstance(contract, int) and not isinstance(contract, bool) and contract >= 1:
        return None
    return f"contract={contract!r} is no contract version; write the N of v<N>.avsc, from 1"


def is_naming(columns: object) -> bool:
    """Whether it maps names to names, none of them twice; None takes all columns."""
    if columns is None:
        return True
    if not isinstance(columns, Mapping) or not columns:
        return False
    names = [*columns.keys(), *columns.values()]
    is_text = all(isinstance(name, str) for name in names)
    return is_text and len(set(columns.values())) == len(columns)
