"""Rules on the way from records to work: inputs before the first step, outputs of each record."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.engine import suspected
from tests.engine import test_suspects as suspects

from headwater import DataProduct, Flow
from headwater.adapters.memory.reader import MemoryRecords
from headwater.contract import Contract, Decoder, Encoder, parse_contract
from headwater.engine import LetterWriter, Route, Task
from headwater.engine.dead_letters import source_position
from headwater.errors import ResultRefusedError, RuleBrokenError
from headwater.flow import ROW, Plan
from headwater.model import Code, Partition, RawRecord, RuleViolation

AT = {"type": "long", "logicalType": "timestamp-millis"}
PLACE = Partition("shop.orders", 0)


def contract(topic: str, rule: Any = (), **attributes: Any) -> Contract:
    """Orders with a number, which the rule is about."""
    fields = [
        {"name": "n", "type": "int", "doc": "How many.", "rule": list(rule)},
        {"name": "at", "type": AT, "doc": "When."},
    ]
    schema = {"type": "record", "name": "Order", "eventTime": "at", **attributes, "fields": fields}
    return parse_contract(json.dumps(schema), topic=topic, version=1, path=Path("v1.avsc"))


def check(check: str, severity: str = "reject") -> dict[str, str]:
    """One rule, named by its severity."""
    return {"name": f"a-{severity}", "check": check, "severity": severity}


class Shop:
    """A task with one input contract, and an output contract for each flow."""

    def __init__(self, given: Contract, *routes: tuple[Flow, Contract]) -> None:
        self.encoder = Encoder(given, 1)
        self.task = Task(
            Decoder(given, lambda _: given.text),
            [
                Route(made.topic, Plan(flow, given.columns, made.columns), Encoder(made, 2))
                for flow, made in routes
            ],
            dead_letters=LetterWriter("dead"),
        )

    def records(self, *numbers: int, ahead_ms: int = 0) -> MemoryRecords:
        """Orders from offset 10 on, published at 0, of events so much later."""
        frame = pl.DataFrame(
            {
                ROW: pl.Series(range(len(numbers)), dtype=pl.UInt32),
                "n": pl.Series(numbers, dtype=pl.Int32),
                "at": pl.Series([ahead_ms] * len(numbers)).cast(pl.Datetime("ms", "UTC")),
            }
        )
        values = self.encoder.encode(frame).values
        rows = [RawRecord(PLACE, 10 + row, 0, None, value) for row, value in enumerate(values)]
        return MemoryRecords(PLACE.topic, rows)


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("shop.out", owner="me").stream("shop.orders", contract=1)


def refused(task: Task, records: MemoryRecords) -> list[tuple[int, str, str]]:
    """Offset, code and step of each letter."""
    found = []
    for letter in task.process(records).letters:
        said = dict(letter.headers)
        place = source_position(letter.headers)
        assert place is not None
        code, step = said["headwater.error.code"], said["headwater.error.step"]
        found.append((place[2], (code or b"").decode(), (step or b"").decode()))
    return found


def test_an_input_that_breaks_a_rule_never_reaches_a_step() -> None:
    """Its neighbours do, in order."""

    def strict(frame: pl.DataFrame) -> pl.DataFrame:
        assert (frame["n"] > 0).all()
        return frame

    shop = Shop(contract("shop.orders", [check("n > 0")]), (stream().map(strict), contract("a.a")))
    records = shop.records(1, 0, 2)
    assert refused(shop.task, records) == [(11, "CONTRACT_VIOLATION", "rules")]
    assert [len(each.values) for each in shop.task.process(records).publications] == [2]


def test_a_record_whose_output_breaks_a_rule_has_no_output_on_any_port() -> None:
    """All or nothing, with the reason of the one port."""
    shop = Shop(
        contract("shop.orders"),
        (stream(), contract("a.a")),
        (stream().with_columns(n=pl.col("n") * 2), contract("a.b", [check("n < 5")])),
    )
    work = shop.task.process(shop.records(1, 3, 2))
    assert [each.rows.to_list() for each in work.publications] == [[0, 2], [0, 2]]
    assert work.codes == {Code.CONTRACT_VIOLATION: 1}


def test_a_warning_counts_records_and_lets_them_pass() -> None:
    """One count per rule and batch, with the place of the first record."""
    shop = Shop(
        contract("shop.orders", [check("n < 2", "warn")]), (stream(), contract("a.a", ["n < 3"]))
    )
    work = shop.task.process(shop.records(1, 2, 3))
    assert work.violations == [
        RuleViolation("shop.orders", "a-warn", "warn", 2, PLACE, 11),
        RuleViolation("a.a", "n", "reject", 1, PLACE, 12),
    ]
    assert [len(each.values) for each in work.publications] == [2]


def test_a_rule_that_stops_says_where_and_why() -> None:
    """Rule, topic, partition and offset, but no value; exit 65."""
    shop = Shop(contract("shop.orders"), (stream(), contract("a.a", [check("n <> 4321", "stop")])))
    assert shop.task.process(shop.records(1, 2)).violations == []
    with pytest.raises(RuleBrokenError) as stopped:
        shop.task.process(shop.records(1, 4321, 4321))
    assert stopped.value.exit_code == 65
    assert str(stopped.value).startswith(
        "shop.orders[0]@11 breaks the rule a-stop (n <> 4321) of a.a v1, whose severity is stop"
    )


def test_events_of_the_future_are_refused_by_the_publish_time_of_their_record() -> None:
    """On the way in under the input's contract, on the way out under the output's."""
    limited = {"maxAhead": "1h"}
    given = Shop(contract("shop.orders", **limited), (stream(), contract("a.a")))
    made = Shop(contract("shop.orders"), (stream(), contract("a.a", **limited)))
    for shop in (given, made):
        assert refused(shop.task, shop.records(1, ahead_ms=3_600_000)) == []
        late = refused(shop.task, shop.records(1, ahead_ms=3_600_001))
        assert late == [(10, "FUTURE_EVENT", "rules")]


def test_a_window_that_closes_against_a_rule_that_stops_is_no_record_s_fault() -> None:
    """Whoever looks for the record that broke a rule finds none, and is told what did."""
    output = suspected.rules(stop="n <= 5")
    with pytest.raises(ResultRefusedError, match="computed of several records of shop") as stopped:
        suspects.World(suspected.closed(), output=output).run([(0, 4, 0), (0, 2, 1), (0, 1, 20)])
    assert (stopped.value.code, stopped.value.exit_code) == ("RULE_BROKEN", 65)
