"""The gate keeps its word: what it calls compatible is read, whatever the values are."""

import json
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from tests.contract.evolving import Evolution
from tests.contract.test_properties import ID, SEEDS, contract, read, write

from headwater.contract import Contract, Decoder, Encoder
from headwater.contract.compatibility import incompatibilities
from headwater.errors import DeclarationError

EXAMPLES = 350  # some 8 s
MANY = 10_000  # some 4 minutes


def keeps_its_word(seed: int) -> None:
    """Both directions of one random pair of versions."""
    maker = Evolution(seed)
    older, newer = maker.pair()
    try:
        contracts = contract(older), contract(newer)
    except DeclarationError:
        event("no contract")
        return
    judge(maker, (older, newer), contracts, "BACKWARD")
    judge(maker, (older, newer), contracts, "FORWARD")


def judge(
    maker: Evolution, schemas: tuple[Any, Any], contracts: tuple[Contract, Contract], mode: str
) -> None:
    """What the gate says of a pair, and what becomes of records."""
    older, newer = contracts
    writer, reader = schemas if mode == "BACKWARD" else schemas[::-1]
    tried = newer if mode == "BACKWARD" else older
    decoder = Decoder(tried, lambda _: json.dumps(writer))
    is_compatible = not incompatibilities(newer, older, mode)
    for step in maker.steps if len(maker.steps) == 1 else ["several"]:
        event(f"{mode}, {step}: {'compatible' if is_compatible else 'refused'}")
    if not is_compatible:
        return
    assert decoder.check(json.dumps(writer)) == []
    written = [write(writer, each) for each in maker.values(writer)]
    decoded, by_row = decoder.decode(written), decoder.decode_by_row(written)
    assert decoded.quarantined == by_row.quarantined == []
    assert decoded.frame.equals(by_row.frame)
    encoded = Encoder(tried, ID).encode(decoded.frame)
    assert encoded.quarantined == []
    assert encoded.values == [write(reader, read(each[5:], writer, reader)) for each in written]


@settings(max_examples=EXAMPLES, deadline=None)
@example(61537)  # a string with a default becomes bytes: the default is of bytes then
@given(SEEDS)
def test_what_the_gate_calls_compatible_is_read_with_equal_values_on_both_paths(seed: int) -> None:
    """Kept fields equal fastavro's, new ones are their defaults; nothing is set aside."""
    keeps_its_word(seed)


@pytest.mark.slow
@pytest.mark.timeout(1_800)  # some 4 minutes alone, seven times as long beside other work
@settings(max_examples=MANY, deadline=None)
@given(SEEDS)
def test_the_same_for_thousands_of_pairs(seed: int) -> None:
    """What a few hundred pairs do not show."""
    keeps_its_word(seed)
