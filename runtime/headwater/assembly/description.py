"""A product as plain data: for people, and for programs."""

from typing import Any

import polars as pl

from headwater.assembly.gate import fate_line, today
from headwater.assembly.parking import parked_changelogs
from headwater.assembly.project import LoadedProduct
from headwater.contract import Contract
from headwater.product import (
    Filter,
    Join,
    Latest,
    Map,
    MapEvents,
    Output,
    Select,
    Sql,
    Step,
    Stream,
    WithColumns,
)


def describe(loaded: LoadedProduct) -> dict[str, Any]:
    """Inputs, steps, output contracts, rules and topics, as JSON can write them."""
    product = loaded.product
    snapshot = product.snapshot
    return {
        "name": product.name,
        "owner": product.owner,
        "snapshot": {"every": snapshot.every, "mode": snapshot.mode} if snapshot else None,
        **({"keep_order": True} if product.dead_letters.keep_order else {}),
        "inputs": [
            _input(stream, loaded.inputs[stream.contract_name]) for stream in product.inputs
        ],
        "tables": [
            {**_input(table.source, loaded.inputs[table.topic]), "broadcast": True}
            for table in product.tables
        ],
        "outputs": [_output(out, loaded.outputs[out.topic]) for out in product.outputs],
        "topics": [
            *(out.topic for out in product.outputs),
            f"{product.name}.dead-letters",
            *parked_changelogs(loaded),
        ],
    }


def _input(stream: Stream, contract: Contract) -> dict[str, Any]:
    """`type` names the contract where the topic has several types of events."""
    typed = {"type": stream.event, "others": stream.others} if stream.event is not None else {}
    idle = {"idle_after": stream.idle_after} if stream.idle_after is not None else {}
    named = {"subjects": stream.subjects} if stream.subjects != "topic" else {}
    return {
        "topic": stream.topic,
        **typed,
        "contract": stream.contract,
        "start": stream.start,
        **named,
        **idle,
        **_fate(contract),
        **_rules(contract),
    }


def _fate(contract: Contract) -> dict[str, Any]:
    """What becomes of a contract; nothing for one that stays."""
    if contract.deprecated is None:
        return {}
    sunset = contract.sunset.isoformat() if contract.sunset else None
    fate = fate_line(contract, today())
    return {"deprecated": contract.deprecated, "sunset": sunset, "fate": fate}


def _rules(contract: Contract) -> dict[str, Any]:
    """What is asked of each record, and under `dataset` of all rows of a snapshot together."""
    return {
        "rules": [
            {"name": rule.name, "check": rule.expression, "severity": rule.severity}
            for rule in contract.rules
        ],
        "dataset": [
            {"name": rule.name, "check": str(rule), "severity": rule.severity}
            for rule in contract.dataset
        ],
    }


def _output(output: Output, contract: Contract) -> dict[str, Any]:
    return {
        "topic": output.topic,
        "port": output.port,
        "contract": output.contract,
        "from": output.flow.stream.contract_name,
        "steps": [
            {"name": step.name, "does": _does(step), "at": str(step.origin)}
            for step in output.flow.steps
        ],
        "key": list(contract.key),
        "event_time": contract.event_time,
        "compatibility": contract.compatibility,
        **_fate(contract),
        **_rules(contract),
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
        case Latest():
            return f"the row of each {', '.join(step.key)} with the greatest {step.by}"
        case Join(table=table, on=on, columns=columns, how=how):
            taken = ", ".join(f"{old} as {new}" for old, new in (columns or {}).items())
            return f"{table.topic} on {on} ({how}): {taken or 'all columns'}"
        case Filter():
            return ", ".join(map(str, step.predicates))
        case Sql(statement=statement):
            return " ".join(statement.split())
        case Select() | WithColumns():
            named = (f"{name}={expression}" for name, expression in step.named.items())
            return ", ".join([*map(str, step.columns), *named])
