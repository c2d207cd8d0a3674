"""Tokens as a store gives them back, and as hands, slips and other releases change them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.reader.shop import TOPIC, Shop, assert_each_once, places
from tests.snapshot.formats import FORMATS

from headwater.errors import ReadRefusedError
from headwater.reader.position import DIGEST, ReadPosition

Content = dict[str, Any]
HUGE = 10**30


@pytest.fixture(params=["memory", *FORMATS])
def any_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """Orders in a snapshot of any kind, and others behind it."""
    if request.param == "memory":
        return begun(Shop())
    return begun(Shop(FORMATS[request.param](tmp_path / TOPIC, product=TOPIC, topic=TOPIC)))


@pytest.fixture
def shop() -> Shop:
    """The same in memory."""
    return begun(Shop())


def begun(shop: Shop) -> Shop:
    """Fifty orders in its snapshot, seven behind it."""
    shop.publish(50)
    shop.take()
    shop.publish(7)
    return shop


def told(shop: Shop, *, frames: int = 1) -> Content:
    """What a token tells: behind so many frames, the first of which are of the snapshot."""
    reading = shop.product().read(until="now")
    for _ in range(frames):
        next(reading)
    content: Content = json.loads(reading.token)
    return content


def old(content: Content) -> Content:
    """As a release told it that knew no digest: what was changed is seen by itself alone."""
    return {name: value for name, value in content.items() if name != DIGEST}


def refusal(shop: Shop, text: str) -> ReadRefusedError:
    """The error with which all up to now cannot be read."""
    with pytest.raises(ReadRefusedError) as refused:
        list(shop.product().read(text, "now"))
    return refused.value


def within(*path: str, to: object) -> Callable[[Content], None]:
    """Change what stands at a place."""

    def change(content: Content) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = to

    return change


CHANGES = {
    "another topic": (within("topic", to="shop.returns"), "TOKEN_OF_ANOTHER"),
    "another incarnation": (within("topic_id", to="elsewhere"), "SOURCE_RECREATED"),
    "no such partition": (within("offsets", "7", to=0), "BAD_TOKEN"),
    "negative partition": (within("offsets", "-1", to=0), "BAD_TOKEN"),
    "behind the end": (within("offsets", "0", to=999), "CUT_LOST"),
    "negative offset": (within("offsets", "0", to=-2), "BAD_TOKEN"),
    "huge offset": (within("offsets", "0", to=HUGE), "BAD_TOKEN"),
    "offset of another type": (within("offsets", "0", to="first"), "BAD_TOKEN"),
    "unknown field": (within("until", to="now"), "BAD_TOKEN"),
    "unknown field of the snapshot": (within("snapshot", "bytes", to=1), "BAD_TOKEN"),
    "unknown commit": (within("snapshot", "commit_id", to="none"), "CUT_UNKNOWN"),
    "unknown version": (within("snapshot", "version", to=999), "SNAPSHOT_GONE"),
    "huge version": (within("snapshot", "version", to=HUGE), "BAD_TOKEN"),
    "negative files": (within("snapshot", "files", to=-1), "BAD_TOKEN"),
    "more files than there are": (within("snapshot", "files", to=4), "BAD_TOKEN"),
    "more rows than there are": (within("snapshot", "rows", to=999), "BAD_TOKEN"),
}


@pytest.mark.parametrize(("change", "code"), CHANGES.values(), ids=CHANGES)
def test_what_cannot_be_so_is_refused_also_without_a_digest(
    any_shop: Shop, change: Callable[[Content], None], code: str
) -> None:
    """With a digest it is told before anything is asked."""
    content = told(any_shop)
    change(content)
    changed = refusal(any_shop, json.dumps(content))
    assert changed.code == "BAD_TOKEN"
    assert refusal(any_shop, json.dumps(old(content))).code == code


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["offsets"].pop("1"),
        within("offsets", "1", to=0),
        within("snapshot", "rows", to=1),
        within("snapshot", to=None),
        within("is_upsert", to=True),
        within("as_of_ms", to=1),
        within(DIGEST, to="0123456789abcdef"),
        within(DIGEST, to=["a"]),
    ],
)
def test_what_could_be_so_and_was_not_told_so_is_seen_by_the_digest(
    shop: Shop, change: Callable[[Content], object]
) -> None:
    """Events would come twice, or never."""
    content = told(shop)
    change(content)
    refused = refusal(shop, json.dumps(content))
    assert refused.code == "BAD_TOKEN"
    assert "was changed since it was told" in str(refused)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "7", '"snapshot"', "[" * 5_000, '{"topic": "shop.orders"'],
)
def test_what_is_no_token_is_one_sentence(shop: Shop, text: str) -> None:
    """With what to begin with instead."""
    refused = refusal(shop, text)
    assert refused.code == "BAD_TOKEN"
    assert str(refused).endswith('"snapshot", "beginning" or "end".')


def test_half_a_token_is_none(shop: Shop) -> None:
    """However long the half is."""
    token = json.dumps(told(shop))
    for length in range(len(token)):
        with pytest.raises(ReadRefusedError):
            ReadPosition.from_text(token[:length])


@pytest.mark.parametrize("frames", [0, 1, 3, 4])
def test_a_token_is_the_same_however_a_store_writes_it(shop: Shop, frames: int) -> None:
    """A database may sort it anew, a file have a line end; older releases told no digest."""
    reading = shop.product().read(until="now")
    read = [place for _ in range(frames) for place in places(next(reading))]
    content = json.loads(reading.token)
    turned = dict(reversed([*content.items()]))
    turned["offsets"] = dict(reversed([*content["offsets"].items()]))
    for kept in (
        f"{reading.token}\n",
        json.dumps(turned, indent=2),
        json.dumps(old(content)),
    ):
        assert ReadPosition.from_text(kept) == reading.position
        again = shop.product().read(kept, "now")
        assert_each_once(
            read + [place for frame in again for place in places(frame)], shop.published()
        )
