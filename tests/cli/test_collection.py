"""Python's search for cycles while a product runs."""

import gc

import pytest

from headwater.assembly.collection import NEW_OBJECTS, rare_collections


def test_cycles_are_searched_rarely_only_while_a_product_runs() -> None:
    """Whatever ends the run, the process is left as it was."""
    before = gc.get_threshold()

    def run() -> None:
        with rare_collections():
            assert gc.get_threshold() == (NEW_OBJECTS, *before[1:])
            assert gc.get_freeze_count() > 0
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_a_batch_of_records_is_let_go_of_without_a_search() -> None:
    """Ten thousand containers that come and go meet no collection."""
    searched: list[str] = []
    with rare_collections():
        gc.callbacks.append(lambda phase, _told: searched.append(phase))
        try:
            for _ in range(5):
                batch = [{"key": [number]} for number in range(10_000)]
                del batch
        finally:
            gc.callbacks.pop()
    assert searched == []
