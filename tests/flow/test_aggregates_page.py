"""docs/aggregates.md: every aggregate is in its table, and its example runs."""

import inspect
import re
from pathlib import Path

import polars as pl
import pytest

from headwater.flow.aggregates import Aggregation
from headwater.product import aggregates as of
from headwater.product.aggregates import Aggregate, aggregate_mistake

PAGE = (Path(__file__).parents[2] / "docs/aggregates.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, made in vars(of).items()
        if inspect.isfunction(made) and inspect.signature(made).return_annotation == "Aggregate"
    ],
)
def test_every_aggregate_is_in_the_table(name: str) -> None:
    """With its result, state and error."""
    assert re.search(rf"^\| .*`{name}\(.*\|.*\|.*\|$", PAGE, re.MULTILINE)


def test_the_example_of_an_own_aggregate_runs() -> None:
    """As it stands on the page."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {"pl": pl, "mergeable": of.mergeable}
    exec(example, names)  # noqa: S102 - the page is ours
    span = names["span"]
    assert isinstance(span, Aggregate)
    assert aggregate_mistake(span) is None
    aggregation = Aggregation({"span": span}, {"distance": pl.Int32()})
    rows = pl.DataFrame({"g": [1, 1], "distance": [5, 9]}, schema_overrides={"distance": pl.Int32})
    found = aggregation.result(aggregation.merge(aggregation.lift(rows), by=["g"]))
    assert found["span"].to_list() == [{"n": 2, "span": 4}]
