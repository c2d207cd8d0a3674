"""Two inputs of one task: the lesser watermark counts, an idle one goes along with the other."""

import polars as pl

from headwater.engine.watermarks import Standing, Watermarks, least
from headwater.flow import Batch


def observed(marks: Watermarks, *times: int) -> Batch:
    """A batch of task 0 with these event times, kept."""
    tasks = pl.repeat(0, len(times), dtype=pl.Int64, eager=True)
    given = pl.Series(times, dtype=pl.Int64)
    found, reached = marks.observe(tasks, given)
    marks.keep()
    return Batch(tasks, times=given, watermarks=found, reached=reached)


def test_a_join_goes_by_the_lesser_of_both_watermarks() -> None:
    """Record by record; as long as one side has none, there is none."""
    left, right = Watermarks(), Watermarks()
    batch = least(observed(left, 5, 9), right)
    assert batch.watermarks.to_list() == [None, None]
    assert batch.reached == {}
    batch = least(observed(right, 3, 7, 12), left)
    assert batch.watermarks.to_list() == [3, 7, 9]
    assert batch.reached == {0: 9}


def test_an_idle_partition_goes_along_with_the_one_it_is_joined_with() -> None:
    """Else a side that brings nothing would hold every row of the other for ever."""
    left, right = Watermarks(), Watermarks(idle_after_s=1.0)
    right.assigned({0: ""})
    right.beside.append(left)
    assert right.idle(frozenset({0})) == {0: Standing(None, is_idle=True)}
    observed(left, 50)
    observed(right, 20)
    assert right.idle(frozenset({0})) == {0: Standing(50, is_idle=True)}
    assert right.idle(frozenset()) == {}
