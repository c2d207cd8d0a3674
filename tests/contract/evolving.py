"""Pairs of schemas as time makes them: random steps of evolution, sound ones and mistakes."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from tests.contract.test_properties import DEFAULTS, LOGICAL, PLAIN, Maker

WIDER = {
    "int": ["long", "float", "double"],
    "long": ["float", "double"],
    "float": ["double"],
    "string": ["bytes"],
    "bytes": ["string"],
}


class Slot:
    """A place in a schema where a type stands: of a field, of items, of values, in a union."""

    def __init__(self, holder: Any, key: Any) -> None:
        self.holder = holder
        self.key = key

    def get(self) -> Any:
        return self.holder[self.key]

    def put(self, type_: Any) -> None:
        self.holder[self.key] = type_


def slots(type_: Any) -> Iterator[Slot]:
    """Every place inside a type."""
    held: list[Slot] = []
    if isinstance(type_, list):
        held = [Slot(type_, place) for place, each in enumerate(type_) if each != "null"]
    elif isinstance(type_, dict):
        held = [Slot(type_, key) for key in ("items", "values") if key in type_]
        held += [Slot(each, "type") for each in type_.get("fields", [])]
    for each in held:
        yield each
        yield from slots(each.get())


def named(schema: Any, kind: str) -> list[Any]:
    """Every definition of this kind inside a schema, itself included."""
    types = [schema, *(slot.get() for slot in slots(schema))]
    return [each for each in types if isinstance(each, dict) and each.get("type") == kind]


class Evolution(Maker):
    """Makes an older schema into a newer one; `steps` are the names of what it did."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.steps: list[str] = []

    def pair(self) -> tuple[Any, Any]:
        """An older and a newer schema; one pair in ten has nothing to do with each other."""
        older = self.with_defaults(self.record())
        if self.chance(0.1):
            newer = self.record()
            newer["name"] = older["name"] if self.chance(0.5) else newer["name"]
            return older, newer
        newer = copy.deepcopy(older)
        for _ in range(self.random.choice([1, 1, 2, 3])):
            self.step(newer)
        return older, newer

    def step(self, schema: Any) -> None:
        """One change somewhere."""
        steps: list[Callable[[Any], None]] = [
            self.add,
            self.add,
            self.remove,
            self.rename,
            self.promote,
            self.symbols,
            self.nullable,
            self.reorder,
            self.reinterpret,
            self.rename_type,
            self.give_default,
            self.resize,
        ]
        step = self.random.choice(steps)
        self.steps.append(step.__name__)
        step(schema)

    def some_record(self, schema: Any) -> Any:
        return self.random.choice(named(schema, "record"))

    def some_slot(self, schema: Any) -> Slot:
        return self.random.choice(list(slots(schema)))

    def add(self, schema: Any) -> None:
        """A field, mostly with a default."""
        field = {"name": self.name("n"), "type": self.type(1), "doc": "d"}
        kind = field["type"][0] if isinstance(field["type"], list) else field["type"]
        kind = kind["type"] if isinstance(kind, dict) and "logicalType" not in kind else kind
        if isinstance(kind, str) and kind in DEFAULTS:
            field["default"] = DEFAULTS[kind]
        elif self.chance(0.7):
            field |= {"type": ["null", field["type"]], "default": None}
            if isinstance(field["type"][1], list):
                field["type"] = ["null", "int"]
        fields = self.some_record(schema)["fields"]
        fields.insert(self.random.randint(0, len(fields)), field)

    def remove(self, schema: Any) -> None:
        fields = self.some_record(schema)["fields"]
        if len(fields) > 1:
            fields.pop(self.random.randrange(len(fields)))

    def rename(self, schema: Any) -> None:
        """A field, mostly with an alias."""
        field = self.random.choice(self.some_record(schema)["fields"])
        if self.chance(0.8):
            field["aliases"] = [*field.get("aliases", []), field["name"]]
        field["name"] = self.name("renamed")

    def rename_type(self, schema: Any) -> None:
        """A record, an enum or a fixed, mostly with an alias."""
        kind = self.random.choice(["record", "enum", "fixed"])
        for each in named(schema, kind)[:1]:
            if self.chance(0.8):
                each["aliases"] = [*each.get("aliases", []), each["name"]]
            each["name"] = self.name("T")

    def promote(self, schema: Any) -> None:
        """A plain type to a wider one, and now and then to any other."""
        slot = self.some_slot(schema)
        if isinstance(slot.get(), str) and slot.get() in WIDER and self.chance(0.8):
            slot.put(self.random.choice(WIDER[slot.get()]))
        elif self.chance(0.3) and not isinstance(slot.holder, list):
            slot.put(self.type(1))
        self.drop_default(slot)

    def symbols(self, schema: Any) -> None:
        """More symbols, fewer, others first, or a default."""
        for each in named(schema, "enum")[:1]:
            if self.chance(0.5):
                each["symbols"] = [*each["symbols"], self.name("S")]
            if self.chance(0.3) and len(each["symbols"]) > 1:
                gone = each["symbols"].pop(0)
                if each.get("default") == gone:
                    each["default"] = each["symbols"][0]
            if self.chance(0.5):
                each["default"] = each["symbols"][0]
            each["symbols"] = self.shuffled(each["symbols"])

    def nullable(self, schema: Any) -> None:
        """A type gains null, or loses it."""
        slot = self.some_slot(schema)
        if isinstance(slot.holder, list):
            return
        if isinstance(slot.get(), list):
            if self.chance(0.3):
                slot.put(next(each for each in slot.get() if each != "null"))
        else:
            slot.put(self.shuffled(["null", slot.get()]))
        self.drop_default(slot)

    def reorder(self, schema: Any) -> None:
        record = self.some_record(schema)
        record["fields"] = self.shuffled(record["fields"])

    def reinterpret(self, schema: Any) -> None:
        """Another logical type over the same or another physical type, or none."""
        slot = self.some_slot(schema)
        held = slot.get()
        if isinstance(held, dict) and "logicalType" in held and held["type"] in PLAIN:
            slot.put(self.random.choice([held["type"], *LOGICAL]))
        elif over := [each for each in LOGICAL if each["type"] == held]:
            slot.put(self.random.choice(over))
        self.drop_default(slot)

    def give_default(self, schema: Any) -> None:
        """Or take it away."""
        field = self.random.choice(self.some_record(schema)["fields"])
        if "default" in field:
            del field["default"]
        elif isinstance(field["type"], str) and field["type"] in DEFAULTS:
            field["default"] = DEFAULTS[field["type"]]

    def resize(self, schema: Any) -> None:
        """A decimal of other digits, a fixed of other size."""
        sizes = {
            "bytes": lambda: {
                "precision": self.random.choice([18, 20, 25]),
                "scale": self.random.choice([3, 3, 3, 2]),
            },
            "fixed": lambda: {"size": self.random.choice([3, 4])},
        }
        for slot in slots(schema):
            held = slot.get()
            if not isinstance(held, dict) or held["type"] not in sizes:
                continue
            if held["type"] == "bytes" or held["size"] == 3:
                slot.put(held | sizes[held["type"]]())
                return

    def drop_default(self, slot: Slot) -> None:
        """A default that is of another type now would be a mistake of its own."""
        if (
            isinstance(slot.holder, dict)
            and "default" in slot.holder
            and "fields" not in slot.holder
        ):
            del slot.holder["default"]
