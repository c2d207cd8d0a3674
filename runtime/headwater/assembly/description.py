"""A product as plain data: for people, and for programs."""

from typing import Any

import polars as pl

from headwater.assembly.gate import fate_line, today
from headwater.assembly.project import LoadedProduct
from headwater.assembly.state import changelogs
from headwater.contract import Contract
from headwater.flow import repartition_of
from headwater.product import (
    AggregateStep,
    Dedupe,
    Filter,
    Join,
    JoinAsof,
    Late,
    Latest,
    Map,
    MapEvents,
    Output,
    Process,
    Rekey,
    RunningAggregate,
    Select,
    Sql,
    StatefulStep,
    Step,
    Stream,
    StreamJoin,
    TableJoin,
    WindowedAggregate,
    WithColumns,
)
from headwater.product.aggregates import Aggregate
from headwater.product.windows import SessionWindows, TimeWindows, Windows


def describe(loaded: LoadedProduct) -> dict[str, Any]:
    """Inputs, steps, output contracts, rules and topics, as JSON can write them."""
    product = loaded.product
    snapshot = product.snapshot
    return {
        "name": product.name,
        "owner": product.owner,
        "snapshot": {"every": snapshot.every, "mode": snapshot.mode, "format": snapshot.format}
        if snapshot
        else None,
        **({"keep_order": True} if product.dead_letters.keep_order else {}),
        "inputs": [
            _input(stream, loaded.inputs[stream.contract_name]) for stream in product.inputs
        ],
        "tables": [
            {
                **_input(table.source, loaded.inputs[table.topic]),
                "broadcast": table.broadcast,
                "versioned": table.versioned,
            }
            for table in product.tables
        ],
        "outputs": [_output(out, loaded) for out in product.outputs],
        "topics": [
            *(out.topic for out in product.outputs),
            f"{product.name}.dead-letters",
            *loaded.repartitions,
            *changelogs(loaded),
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


def _output(output: Output, loaded: LoadedProduct) -> dict[str, Any]:
    contract = loaded.outputs[output.topic]
    return {
        "topic": output.topic,
        "port": output.port,
        "contract": output.contract,
        "from": output.flow.stream.contract_name,
        "steps": [
            {
                "name": step.name,
                "does": _does(step),
                **_moved(output, step, loaded),
                "at": str(step.origin),
            }
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


def _windows(windows: Windows) -> str:
    match windows:
        case SessionWindows(gap):
            return f"sessions with gaps up to {gap}"
        case TimeWindows(size, every):
            return f"windows of {size}" if every == size else f"windows of {size} every {every}"


def _computed(aggregate: Aggregate) -> str:
    told = (aggregate.column, aggregate.limit, *aggregate.fractions)
    return f"{aggregate.kind}({', '.join(str(each) for each in told if each is not None)})"


def _waiting(step: WindowedAggregate | Late) -> str:
    wait = f", open for {step.allowed_lateness} more" if step.allowed_lateness != "0s" else ""
    return f"{_windows(step.windows)}{wait}"


def _aggregates(step: AggregateStep) -> str:
    when = "so far"
    if isinstance(step, WindowedAggregate):
        when = f"in {_waiting(step)}, {step.emit}"
    computed = (f"{name}={_computed(each)}" for name, each in step.aggregates.items())
    return f"by {', '.join(step.key)} {when}: {', '.join(computed)}"


def _join(step: TableJoin) -> str:
    taken = ", ".join(f"{old} as {new}" for old, new in (step.columns or {}).items())
    how = f"({step.how}): {taken or 'all columns'}"
    if isinstance(step, Join):
        return f"{step.table.topic} on {step.on} {how}"
    within = f"as of the event time, within {step.within_ms / 1000:g} s"
    return f"{step.table.topic} by {step.on}, {within} {how}"


def _stream_join(step: StreamJoin) -> str:
    taken = ", ".join(f"{old} as {new}" for old, new in (step.columns or {}).items())
    wait = f", open for {step.allowed_lateness} more" if step.allowed_lateness != "0s" else ""
    through = "".join(f" {each.name} ({_does(each)})," for each in step.right_steps)
    return (
        f"{step.right.contract_name} by key,{through} within {step.within}{wait}"
        f" ({step.how}): {taken or 'all columns'}"
    )


def _does(step: Step) -> str:
    match step:
        case Map() | MapEvents():
            return _called(step.function)
        case Filter():
            return ", ".join(map(str, step.predicates))
        case Sql(statement=statement):
            return " ".join(statement.split())
        case Select() | WithColumns():
            named = (f"{name}={expression}" for name, expression in step.named.items())
            return ", ".join([*map(str, step.columns), *named])
        case _:
            return _does_with_others(step)


def _keeps(step: StatefulStep) -> str:
    match step:
        case Latest():
            kept = f", for {step.keep}" if step.keep else ""
            return f"the row of each {', '.join(step.key)} with the greatest {step.by}{kept}"
        case RunningAggregate() | WindowedAggregate():
            return _aggregates(step)
        case Dedupe():
            return f"one row of each {', '.join(step.key)} within {step.within}"
        case StreamJoin():
            return _stream_join(step)
        case Process():
            timers = "" if step.on_timer is None else f", {_called(step.on_timer)} on timers"
            return f"{_called(step.function)} with a {step.state.__name__} per key{timers}"


def _moved(output: Output, step: Step, loaded: LoadedProduct) -> dict[str, Any]:
    """The topic through which the rows of a step go to the tasks of its key; nothing if none.

    Late rows may be read of the topic of another output, that of their windows.
    """
    own = repartition_of(output.topic, step.name)
    if own in loaded.repartitions:
        return {"through": own}
    first = next(each for each in loaded.sections if each.output == output.topic)
    is_shared = isinstance(step, Late) and first.source is not None
    return {"through": first.source} if is_shared else {}


def _called(function: object) -> str:
    return f"{getattr(function, '__name__', type(function).__name__)}(...)"


def _does_with_others(step: Rekey | StatefulStep | TableJoin | Late) -> str:
    """What looks at other rows, or goes to them."""
    match step:
        case Rekey(columns=columns):
            return f"to the task of {', '.join(columns)}"
        case Join() | JoinAsof():
            return _join(step)
        case Late():
            return f"what is late by {', '.join(step.key)} for {_waiting(step)}"
        case _:
            return _keeps(step)
