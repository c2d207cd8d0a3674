"""A product as plain data: for people, and for programs."""

from typing import Any

import polars as pl

from headwater.assembly.project import LoadedProduct
from headwater.contract import Contract
from headwater.product import Filter, Map, MapEvents, Output, Select, Step, WithColumns


def describe(loaded: LoadedProduct) -> dict[str, Any]:
    """Inputs, steps, output contracts and topics, as JSON can write them."""
    product = loaded.product
    snapshot = product.snapshot
    return {
        "name": product.name,
        "owner": product.owner,
        "snapshot": {"every": snapshot.every, "mode": snapshot.mode} if snapshot else None,
        "inputs": [
            {"topic": stream.topic, "contract": stream.contract, "start": stream.start}
            for stream in product.inputs
        ],
        "outputs": [_output(out, loaded.outputs[out.topic]) for out in product.outputs],
        "topics": [*(out.topic for out in product.outputs), f"{product.name}.dead-letters"],
    }


def _output(output: Output, contract: Contract) -> dict[str, Any]:
    return {
        "topic": output.topic,
        "port": output.port,
        "contract": output.contract,
        "from": output.flow.stream.topic,
        "steps": [
            {"name": step.name, "does": _does(step), "at": str(step.origin)}
            for step in output.flow.steps
        ],
        "key": list(contract.key),
        "event_time": contract.event_time,
        "compatibility": contract.compatibility,
        "fields": [
            {
                "name": field["name"],
                "type": _type(contract.columns[field["name"]]),
                "unit": field.get("unit", ""),
                "doc": field["doc"],
            }
            for field in contract.schema["fields"]
        ],
    }


def _type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return f"Datetime({dtype.time_unit}, {dtype.time_zone or 'no zone'})"
    return str(dtype)


def _does(step: Step) -> str:
    match step:
        case Map() | MapEvents():
            return f"{getattr(step.function, '__name__', type(step.function).__name__)}(...)"
        case Filter():
            return ", ".join(map(str, step.predicates))
        case Select() | WithColumns():
            named = (f"{name}={expression}" for name, expression in step.named.items())
            return ", ".join([*map(str, step.columns), *named])
