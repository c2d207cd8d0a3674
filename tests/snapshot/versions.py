"""Chains of contract versions that the gate lets through, and events of each."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import fastavro
from tests.contract.evolving import Evolution
from tests.contract.test_properties import physical

from headwater.contract import (
    Contract,
    detours,
    incompatibilities,
    key_change,
    parse_contract,
    reused_names,
)
from headwater.errors import DeclarationError
from headwater.snapshot.evolution import Format, table_refusals

TOPIC = "a.b"
TRIES = 60  # of random steps for one version; without one the chain is shorter


class Versions:
    """Random versions of one contract, the older ones first; one seed is one chain."""

    def __init__(self, seed: int, format_: Format, count: int) -> None:
        self._maker = Evolution(seed)
        self._format: Format = format_
        schema = self._maker.with_defaults(self._maker.record())
        while format_ == "delta" and "local-" in json.dumps(schema):
            # deltalake cannot create a table with times without a zone deep inside
            schema = self._maker.with_defaults(self._maker.record())
        key = {"name": "id", "type": "string", "doc": "d"}
        schema |= {"key": "id", "fields": [key, *schema["fields"]]}
        self.schemas = [schema]
        self.contracts = [self._contract(schema)]
        for _ in range(TRIES):
            if len(self.schemas) < count:
                self._try()

    def events(self, version: int, count: int) -> list[tuple[bytes, bytes]]:
        """Keys and bodies without a frame, of a version; few keys, so that they come again."""
        schema, found = self.schemas[version], []
        for number in range(count):
            record = self._maker.value(schema)
            key = f"k{number % 4}"
            record[self.contracts[version].key[0]] = key
            out = io.BytesIO()
            fastavro.schemaless_writer(out, fastavro.parse_schema(physical(schema)), record)
            found.append((key.encode(), out.getvalue()))
        return found

    def _try(self) -> None:
        schema = copy.deepcopy(self.schemas[-1])
        for _ in range(self._maker.random.choice([1, 2, 3])):
            self._maker.step(schema)
        names = {each["name"]: each.get("aliases", []) for each in schema["fields"]}
        key = schema["key"]
        schema["key"] = next((n for n, aliases in names.items() if key in {n, *aliases}), key)
        try:
            contract = self._contract(schema)
        except DeclarationError:
            return
        if self._is_let_through(contract):
            self.schemas.append(schema)
            self.contracts.append(contract)

    def _contract(self, schema: Any) -> Contract:
        version = len(self.schemas) + 1
        path = Path(f"v{version}.avsc")
        return parse_contract(json.dumps(schema), topic=TOPIC, version=version, path=path)

    def _is_let_through(self, newer: Contract) -> bool:
        before = self.contracts
        return not (
            any(incompatibilities(newer, each, "BACKWARD") for each in before)
            or any(table_refusals(each, newer, self._format) for each in before)
            or any(
                detours(first, between, newer)
                for place, between in enumerate(before)
                for first in before[:place]
            )
            or key_change(newer, before[-1])
            or reused_names([*before, newer])
        )
