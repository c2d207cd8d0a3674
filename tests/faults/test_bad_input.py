"""Records that cannot be processed, sent through the real broker between good ones."""

from collections.abc import Sequence
from contextlib import closing
from itertools import zip_longest
from typing import Final

import polars as pl
import pytest
from confluent_kafka import Producer
from tests.faults.harness import Bench

from headwater.model import Code

pytestmark = pytest.mark.kafka

TOO_MANY_BAD: Final = 65
PREFIX: Final = "headwater.error."
RAISING: Final = "20130101-RAISES"
UNKNOWN_ID: Final = b"\0\x7f\xff\xff\xff"

STEPS: Final = '''
"""A step that raises for one flight, and an output that breaks its contract for another."""

import polars as pl

from headwater import DataProduct

product = DataProduct(name="operations.departure-delays", owner="tests@airport.example")
departures = product.stream("operations.departures", contract=1, start="earliest")


def strict(frame: pl.DataFrame) -> pl.DataFrame:
    """As it is, but one flight is refused."""
    if (frame["flight_id"] == "20130101-RAISES").any():
        raise ValueError("secret payload")
    return frame


delays = departures.map(strict).select(
    "flight_id",
    "carrier",
    "origin",
    "dest",
    "sched_dep",
    delay_minutes="dep_delay",  # null for a cancelled flight: the contract wants a number
    late=pl.col("dep_delay").fill_null(0) > 15,
    speed_class=pl.lit("short"),
)
product.publish(delays, contract=1)
'''


def _bad_values(good: bytes) -> dict[Code, bytes | None]:
    """One value per way of being bad; `good` is a framed departure."""
    frame, body = good[:5], good[5:]
    first = body[0] // 2  # the length of the first string, zigzag
    rest = body[1 + first :]
    return {
        Code.EMPTY_VALUE: None,
        Code.BAD_MAGIC: b"\1" + good[1:],
        Code.TRUNCATED_FRAME: b"\0\0",
        Code.UNKNOWN_SCHEMA_ID: UNKNOWN_ID + body,
        Code.AVRO_LENGTH: frame + body[:20],
        Code.AVRO_INDEX: frame + b"\1" + body[1:],  # a length of -1
        Code.AVRO_VARINT: frame + b"\xff" * 11,
        Code.TRAILING_BYTES: good + b"\0",
        Code.BAD_UTF8: frame + bytes([2 * first]) + b"\xff" * first + rest,
    }


def _send(bench: Bench, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Publish in order, each with its key and a header of its own."""
    producer = Producer({**bench.kafka, "enable.idempotence": True})
    for place, (key, value) in enumerate(records):
        producer.produce(topic, value=value, key=key, headers=[("place", str(place).encode())])
    assert producer.flush(20) == 0


def test_each_kind_of_bad_record_lands_in_dead_letters(bench: Bench, flights: pl.DataFrame) -> None:
    """With raw key, value, headers and the reason; its neighbours are processed in order."""
    source = bench.source("bad-in", partitions=1)
    product = bench.product("bad", source, STEPS)
    sound = flights.filter(pl.col("dep_delay").is_not_null()).head(40)
    encoder = bench.encoder(source)
    good = encoder.encode(sound.with_row_index("_row")).values
    broken = pl.concat(
        [
            sound.head(1).with_columns(flight_id=pl.lit(RAISING)),
            flights.filter(pl.col("dep_delay").is_null()).head(1),
        ]
    )
    raising, violating = encoder.encode(broken.with_row_index("_row")).values
    bad = {
        **_bad_values(good[0]),
        Code.STEP_FAILED: raising,
        Code.CONTRACT_VIOLATION: violating,
    }
    records: list[tuple[bytes, bytes | None]] = []
    for value, disturbance in zip_longest(good, bad.items()):
        records.append((b"good", value))
        if disturbance is not None:
            records.append((disturbance[0].encode(), disturbance[1]))
    _send(bench, source, records)
    with bench.run(product) as run:
        assert run.exit_code() == 0
        assert "secret payload" not in run.errors()

    letters = {letter.key: letter for letter in bench.records(f"{product}.dead-letters")}
    assert len(letters) == len(bad)
    for code, sent in bad.items():
        letter = letters[code.encode()]
        headers = dict(letter.headers)
        assert letter.value == sent
        assert headers[PREFIX + "code"] == code.encode()
        place = int((headers["place"] or b"").decode())
        assert headers[PREFIX + "offset"] == str(place).encode()
        assert headers[PREFIX + "partition"] == b"0"
        assert headers[PREFIX + "topic"] == source.encode()
        assert headers[PREFIX + "message"]
        assert headers[PREFIX + "step"]
        assert b"secret payload" not in (headers[PREFIX + "message"] or b"")
    found = bench.visible(product).sort("_offset")
    assert found["flight_id"].to_list() == sound["flight_id"].to_list()


def test_too_many_bad_records_stop_the_product_for_good(
    bench: Bench, flights: pl.DataFrame
) -> None:
    """Exit 65 with nothing of the transaction visible, and again 65 after a restart."""
    fed = flights.head(2_000)
    source = bench.source("flood-in", [fed], partitions=1)
    product = bench.product("flood", source)
    with bench.run(product) as sound:
        assert sound.exit_code() == 0
    _send(bench, source, [(b"k", b"no frame")] * 500)
    # small batches: those below the limit commit, a restart must not drip past it
    drip = {"HEADWATER_POLL_SIZE": "10", "HEADWATER_COMMIT_INTERVAL": "1ms"}
    letters = []
    for _ in range(2):
        with bench.run(product, settings=drip) as run:
            assert run.exit_code() == TOO_MANY_BAD
            assert f"{product}.dead-letters" in run.errors()
            assert "Traceback" not in run.errors()
        assert bench.is_settled(f"{product}.dead-letters")
        letters.append(len(bench.records(f"{product}.dead-letters")))
    assert letters[0] == letters[1] < 500
    with closing(bench.gauge(product, source)) as gauge:
        assert gauge.total() == fed.height + letters[0]
    assert bench.visible(product).height == fed.filter(pl.col("dep_delay").is_not_null()).height
