"""State that another declaration of a step left is refused, before it is taken for its own."""

from collections.abc import Callable

import polars as pl
import pytest
from tests.flow import joining

from headwater import DataProduct, Flow, aggregates, hopping, session, tumbling
from headwater.adapters.memory import MemoryStores
from headwater.errors import StartRefusedError
from headwater.flow import Columns, Ground, Plan
from headwater.flow.stateful import StatefulStage
from headwater.product.steps import Emission, JoinKind
from headwater.product.windows import Windows
from headwater.state import KeyedStore, StoreSettings

COLUMNS: Columns = {"id": pl.String(), "kind": pl.Int64(), "at": pl.Datetime("ms", "UTC")}
WIDER: Columns = {**COLUMNS, "id": pl.Int64()}
NARROWER: Columns = {**COLUMNS, "id": pl.Int32()}
SESSION = session(gap="1h")


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


def stage_of(flow: Flow, columns: Columns = COLUMNS) -> StatefulStage:
    """The one stage with state of a flow."""
    (stage,) = Plan(flow, columns, ground=Ground(("id",), event_time="at")).stateful
    return stage


def window(windows: Windows, emit: Emission = "on_close", *, by: str = "id") -> StatefulStage:
    """A count by window."""
    made = stream().group_by(["id", by] if by != "id" else "id").window(windows, emit=emit)
    return stage_of(made.agg(n=aggregates.count()))


def running(columns: Columns = COLUMNS, *by: str) -> StatefulStage:
    """A count so far."""
    return stage_of(stream().group_by(["id", *by]).agg(n=aggregates.count()), columns)


def deduped(within: str, columns: Columns = COLUMNS) -> StatefulStage:
    """Events once."""
    return stage_of(stream().dedupe("id", within=within), columns)


def latest(columns: Columns = COLUMNS, keep: str | None = None) -> StatefulStage:
    """The newest row of each key."""
    return stage_of(stream().latest("id", by="at", keep=keep), columns)


def joined(within: str, how: JoinKind = "left", *, is_left: bool = True) -> StatefulStage:
    """A side of a join of two streams."""
    left, right = joining.flows()
    sides = joining.sections(left.join(right, within=within, how=how))
    (stage,) = sides[0 if is_left else 1].plan.stateful
    return stage


Stages = Callable[[], tuple[StatefulStage, StatefulStage]]
OTHERS: dict[str, Stages] = {
    "size": lambda: (window(tumbling("1h")), window(tumbling("30m"))),
    "hop": lambda: (
        window(hopping("1h", every="10m")),
        window(hopping("1h", every="20m")),
    ),
    "tumbling for hopping": lambda: (
        window(tumbling("1h")),
        window(hopping("1h", every="30m")),
    ),
    "emit": lambda: (window(tumbling("1h")), window(tumbling("1h"), "on_change")),
    "gap": lambda: (window(SESSION), window(session(gap="2h"))),
    "within of dedupe": lambda: (deduped("1h"), deduped("2h")),
    "within of a join": lambda: (joined("1h"), joined("2h")),
    "how of a join": lambda: (joined("1h", "inner"), joined("1h", "left")),
    "group": lambda: (running(), running(COLUMNS, "kind")),
    "group of windows": lambda: (window(tumbling("1h")), window(tumbling("1h"), by="kind")),
    "group of sessions": lambda: (window(SESSION), window(SESSION, by="kind")),
    "type of a group": lambda: (running(NARROWER), running(WIDER)),
    "key of latest": lambda: (latest(NARROWER), latest(WIDER)),
    "key of dedupe": lambda: (deduped("1h", NARROWER), deduped("1h", WIDER)),
    "kind of step": lambda: (latest(), stage_of(stream().dedupe("id", within="1h"))),
}
SAME: dict[str, Stages] = {
    "tumbling": lambda: (window(tumbling("1h")), window(tumbling("60m"))),
    "hopping": lambda: (
        window(hopping("1h", every="10m")),
        window(hopping("60m", every="10m")),
    ),
    "session": lambda: (window(SESSION), window(session(gap="60m"))),
    "order of a group": lambda: (
        stage_of(stream().group_by(["id", "kind"]).agg(n=aggregates.count())),
        stage_of(stream().group_by(["kind", "id"]).agg(n=aggregates.count())),
    ),
    "dedupe": lambda: (deduped("1h"), deduped("60m")),
    "keep of latest": lambda: (latest(keep="1d"), latest(keep="2d")),
    "sides of a join": lambda: (joined("1h"), joined("60m", is_left=False)),
}


def stored(stage: StatefulStage) -> bytes:
    """A row as the stage stores it."""
    (value,) = stage.rows.encode(stage.rows.columns.to_frame().clear(1))
    return value


def filled(stage: StatefulStage) -> MemoryStores:
    """A local store with one row of a stage and a good mark."""
    local = MemoryStores()
    store = store_of(stage, local)
    store.assign(0)
    store.restore(0, [b"key"], [stored(stage)], offset=1)
    store.restored(0)
    store.release(0)
    return local


def store_of(stage: StatefulStage, local: MemoryStores) -> KeyedStore:
    """The store of a stage."""
    return KeyedStore(stage.rows, local, StoreSettings("log"))


@pytest.mark.parametrize("name", OTHERS)
def test_state_of_another_declaration_is_refused(name: str) -> None:
    """In a changelog as on a local disk, whichever of the two came first."""
    pair = OTHERS[name]()
    for before, after in (pair, pair[::-1]):
        store = store_of(after, MemoryStores())
        store.assign(0)
        with pytest.raises(StartRefusedError) as refused:
            store.restore(0, [b"key"], [stored(before)], offset=1)
        assert (refused.value.code, refused.value.exit_code) == ("STATE_COLUMNS", 78)
        with pytest.raises(StartRefusedError) as refused:
            store_of(after, filled(before)).assign(0)
        assert refused.value.code == "STATE_COLUMNS"


@pytest.mark.parametrize("name", SAME)
def test_state_of_the_same_declaration_is_taken(name: str) -> None:
    """However it is written, and whatever changed that a stored row does not depend on."""
    pair = SAME[name]()
    for before, after in (pair, pair[::-1]):
        store = store_of(after, filled(before))
        assert store.assign(0) is not None
        key = pl.Series([b"key"], dtype=pl.Binary)
        assert store.read(pl.Series([0]), key).height == 1
