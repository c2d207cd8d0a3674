"""`DeadLetters(keep_order=True)` in a declaration and in `describe`."""

from pathlib import Path
from typing import Any

import pytest

from headwater.assembly.description import describe
from headwater.assembly.project import load_product
from headwater.assembly.starting import start_policy
from headwater.errors import DeclarationError

PASSED = "orders"
LATEST = 'orders.latest("id", by="n")'
MOVED = 'orders.rekey("n")'


def declared(
    project: Any, flow: str = PASSED, policy: str = "DeadLetters(keep_order=True)"
) -> Path:
    """A product that publishes a flow of orders, and this policy."""
    project.contract("shop.copies")
    file: Path = project.product(
        "shop.copies",
        f"""\
        from headwater import DeadLetters
        product = DataProduct("shop.copies", owner="shop@example.com", dead_letters={policy})
        orders = product.stream("shop.orders", contract=1)
        product.publish({flow}.select("id", "n", "note"), contract=1)
        """,
    )
    return file


def test_describe_tells_that_order_is_kept_and_where(project: Any) -> None:
    """Nothing is said of a product that keeps none, and it has no topic for it."""
    kept = describe(load_product(declared(project)))
    assert kept["keep_order"] is True
    assert kept["topics"][1:] == [
        "shop.copies.dead-letters",
        "shop.copies.dead-letters.shop.orders.changelog",
    ]
    free = describe(load_product(declared(project, policy="DeadLetters()")))
    assert "keep_order" not in free
    assert free["topics"][1:] == ["shop.copies.dead-letters"]


def test_what_is_parked_is_no_state_that_goes_with_offsets(project: Any) -> None:
    """A start without offsets asks the changelogs of steps; where keys wait is right anyway."""
    policy = start_policy(load_product(declared(project)))
    assert list(policy.changelogs) == list(policy.parked)
    assert len(policy.parked) == 1
    assert not start_policy(load_product(declared(project, LATEST, "DeadLetters()"))).parked


def test_records_without_keys_cannot_wait(project: Any) -> None:
    """Of the input's contract: what it has no key for has no order."""
    file = declared(project)
    project.contract("shop.orders", key=[])
    with pytest.raises(DeclarationError) as caught:
        load_product(file)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line) == ("ORDER_WITHOUT_KEY", 7)


@pytest.mark.parametrize("flow", [LATEST, MOVED])
def test_letters_that_cannot_be_replayed_keep_nothing_waiting(project: Any, flow: str) -> None:
    """Those of a product with state or another key, until they can be."""
    with pytest.raises(DeclarationError, match=r"ORDER_WITH_STATE: shop\.copies has steps"):
        load_product(declared(project, flow))


@pytest.mark.parametrize("policy", ["'in order'", "DeadLetters(keep_order='yes')"])
def test_a_policy_that_is_none_is_a_mistake(project: Any, policy: str) -> None:
    """Told with what to write, beside all other mistakes."""
    with pytest.raises(DeclarationError, match="INVALID_VALUE"):
        load_product(declared(project, policy=policy))
