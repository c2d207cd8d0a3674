"""Windows at times as they are today: beyond what 32 bits hold."""

import polars as pl

from headwater import DataProduct, aggregates, hopping
from headwater.adapters.memory import MemoryStores
from headwater.flow import ROW, Batch, Ground, Plan
from headwater.state import KeyedStore, StoreSettings

TODAY_MS = 1_356_998_400_000
MINUTE_MS = 60_000
MINUTES = 180


def test_a_hopping_window_of_today_is_told_once() -> None:
    """Each batch closes a window, and none that was closed before."""
    stream = DataProduct("a.b", owner="me").stream("c.d", contract=1)
    windows = stream.group_by("id").window(hopping("1h", every="10m"))
    flow = windows.agg(n=aggregates.count())
    plan = Plan(flow, {"id": pl.String()}, ground=Ground(("id",), event_time="at"))
    (stage,) = plan.stateful
    store = KeyedStore(stage.rows, MemoryStores(), StoreSettings("log"))
    store.assign(0)
    plan = plan.with_stores({stage.step.name: store})
    told = []
    for minute in range(MINUTES):
        times = pl.Series([TODAY_MS + minute * MINUTE_MS])
        frame = pl.DataFrame({"id": ["a"]}).with_row_index(ROW)
        tasks, offsets = pl.Series([0]), pl.Series([minute])
        batch = Batch(tasks, offsets, times, times, {0: times[0]})
        told += plan.process(frame, batch).frame["window_start"].to_list()
        store.keep()
    assert len(told) == len(set(told)) == MINUTES // 10 - 1
