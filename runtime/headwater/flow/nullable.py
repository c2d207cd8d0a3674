"""Which columns a left join leaves null, as far as that shows without data.

A step that computes a column anew, or that looks at it to drop rows, ends what is known of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from headwater.flow.join import TableStage
from headwater.flow.late import LateStage
from headwater.flow.stage import Stage
from headwater.flow.stateful import StatefulStage
from headwater.flow.stream_join import StreamJoinStage
from headwater.product import (
    Filter,
    Map,
    MapEvents,
    Process,
    RunningAggregate,
    Select,
    Step,
    WindowedAggregate,
    WithColumns,
)

NamedBy = Callable[[Any], list[str] | None]
"""The columns an expression names; None where that is not plain."""


def nullable_columns(
    stages: Sequence[Stage | StatefulStage | TableStage | LateStage],
) -> Mapping[str, str]:
    """The columns that come out null where a left join finds nothing, with the join's name."""
    found: dict[str, str] = {}
    for stage in stages:
        if isinstance(stage, TableStage | StreamJoinStage):
            if stage.step.how == "left":
                found |= dict.fromkeys(stage.names.values(), stage.step.name)
            continue
        found = _behind(stage.step, found)
    return found


def _behind(step: Step, found: dict[str, str]) -> dict[str, str]:
    """What is known behind a step that is no join."""
    match step:
        case Filter(predicates=predicates):
            return _without(found, predicates, _roots)
        case Select(columns=columns, named=named):
            return _renamed(found, columns, named)
        case WithColumns(columns=columns, named=named):
            kept = _without(found, columns, _names)
            kept = {name: join for name, join in kept.items() if name not in named}
            return kept | _renamed(found, columns, named)
        case RunningAggregate(key=key) | WindowedAggregate(key=key):
            return {name: join for name, join in found.items() if name in key}
        case Map() | MapEvents() | Process():
            return {}
        case _:
            return found


def _without(
    found: dict[str, str], expressions: Iterable[Any], named_by: NamedBy
) -> dict[str, str]:
    """All but the columns that one of the expressions names; none where one may name any."""
    for each in expressions:
        names = [each] if isinstance(each, str) else named_by(each)
        if names is None:
            return {}
        found = {name: join for name, join in found.items() if name not in names}
    return found


def _roots(expression: Any) -> list[str] | None:
    """The columns an expression looks at; None where that is not plain."""
    if not isinstance(expression, pl.Expr) or expression.meta.has_multiple_outputs():
        return None
    return expression.meta.root_names()


def _names(expression: Any) -> list[str] | None:
    """The column an expression makes; None where that is not plain."""
    if not isinstance(expression, pl.Expr) or expression.meta.has_multiple_outputs():
        return None
    name = expression.meta.output_name(raise_if_undetermined=False)
    return None if name is None else [name]


def _renamed(
    found: dict[str, str], columns: Iterable[Any], named: Mapping[str, Any]
) -> dict[str, str]:
    """The columns that are taken as they are, by their new names."""
    given = [(None, each) for each in columns] + [(name, each) for name, each in named.items()]
    pairs = (pair for name, each in given for pair in _plain(name, each))
    return {new: found[old] for new, old in pairs if old in found}


def _plain(name: str | None, expression: Any) -> Iterator[tuple[str, str]]:
    if isinstance(expression, str):
        yield name or expression, expression
    elif isinstance(expression, pl.Expr):
        bare = expression.meta.undo_aliases()
        if bare.meta.is_column():
            yield name or expression.meta.output_name(), bare.meta.output_name()
