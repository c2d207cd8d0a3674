"""A registry that is away in any way is no bad data: known ids go on, unknown ones wait."""

import http.client
import json
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Final
from urllib.parse import urlsplit

import polars as pl
import pytest
from confluent_kafka.schema_registry import Schema
from tests.faults.harness import START_S, Bench, Gauge, Run, until
from tests.registry.confluent import registry_client

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.model import RawRecord

pytestmark = pytest.mark.kafka

SESSION_S: Final = 6.0  # the least that a broker allows
TOLD_S: Final = 20.0
BACK_S: Final = 5.0  # from the registry's return to the next commit
BAD_ANSWERS: Final = {
    "500": (500, b'{"error_code":50001,"message":"oops"}'),
    "429": (429, b"slow down"),
    "nonsense": (200, b"<html>welcome</html>"),
    "not ours": (404, b"<html>no such page</html>"),
}


@dataclass
class Proxy:
    """Stands before the real registry, and answers for it while `mode` says how."""

    real: str
    mode: str = ""
    back: Event = field(default_factory=Event)
    asked: int = 0

    def fail(self, mode: str) -> None:
        self.back.clear()
        self.mode, self.asked = mode, 0

    def heal(self) -> None:
        self.mode = ""
        self.back.set()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:  # noqa: C901  # one class in here
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if proxy.mode:
                proxy.asked += 1
            if proxy.mode == "closed":
                self.close_connection = True
                return
            if proxy.mode == "silent":
                proxy.back.wait()
            elif proxy.mode == "slow":
                proxy.back.wait(3.0)  # beyond the client's patience of 2 s, but it does answer
            self._send(*BAD_ANSWERS.get(proxy.mode) or self._real(body))

        def _real(self, body: bytes) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection(urlsplit(proxy.real).netloc, timeout=10)
            with closing(connection):
                headers = {"Content-Type": "application/json"}
                connection.request(self.command, self.path, body or None, headers)
                reply = connection.getresponse()
                return reply.status, reply.read()

        def _send(self, status: int, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status == HTTPStatus.TOO_MANY_REQUESTS:
                    self.send_header("Retry-After", "1")
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                return  # whoever asked has given up

        do_GET = do_POST = do_PUT = answer  # noqa: N815  # its parent's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its parent's
            """Say nothing."""

    return Handler


@dataclass
class Scene:
    """One process that runs behind the proxy for all tests here."""

    bench: Bench
    proxy: Proxy
    run: Run
    gauge: Gauge
    topic: str
    value: bytes
    product: str
    versions: int = 0

    def write(self, value: bytes) -> None:
        writer = BulkWriter(self.bench.kafka)
        writer.write(self.topic, [b"k"], [value])
        writer.flush()

    def letters(self) -> list[RawRecord]:
        """What was set aside so far, in this run of the product."""
        return self.bench.records(f"{self.product}.dead-letters")

    def unknown(self) -> bytes:
        """A value of a schema that nobody has asked for yet: one more field that may be null."""
        self.versions += 1
        schema = self.bench.contract(self.topic).schema
        notes = [
            {"name": f"note_{i}", "type": ["null", "string"], "default": None}
            for i in range(self.versions)
        ]
        document = {**schema, "fields": [*schema["fields"], *notes]}
        with closing(registry_client(self.bench.addresses.registry)) as client:
            subject = f"{self.topic}-value"
            schema_id = client.register_schema(subject, Schema(json.dumps(document), "AVRO"))
        return b"\0" + struct.pack(">I", schema_id) + self.value[5:] + b"\0" * self.versions


@pytest.fixture(scope="module")
def scene(bench: Bench, flights: pl.DataFrame) -> Iterator[Scene]:
    """A product that has read one record, with the shortest session there is."""
    proxy = Proxy(bench.addresses.registry)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    topic = bench.source("registry-in", partitions=1)
    sound = flights.filter(pl.col("dep_delay").is_not_null()).head(1)
    value = bench.encoder(topic).encode(sound.with_row_index("_row")).values[0]
    product = bench.product("registry", topic)
    settings = {
        "HEADWATER_REGISTRY": f"http://127.0.0.1:{server.server_port}{urlsplit(proxy.real).path}",
        "HEADWATER_KAFKA__SESSION_TIMEOUT_MS": str(int(SESSION_S * 1000)),
        "HEADWATER_KAFKA__HEARTBEAT_INTERVAL_MS": "1500",
    }
    with (
        bench.run(product, until_end=False, settings=settings) as run,
        closing(bench.gauge(product, topic)) as gauge,
    ):
        found = Scene(bench, proxy, run, gauge, topic, value, product)
        found.write(value)
        until(lambda: run.ended() or gauge.total() == 1, START_S, "the first record")
        assert not run.ended(), run.errors()
        yield found
        proxy.heal()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("mode", ["closed", "silent", "slow", *BAD_ANSWERS])
def test_a_registry_that_is_away_is_waited_for(scene: Scene, mode: str) -> None:
    """Known ids go on, an unknown one waits and keeps its place in the group, none is set aside."""
    run, gauge, proxy = scene.run, scene.gauge, scene.proxy
    before, rebalances = gauge.total(), run.metric("headwater_rebalances_total")
    set_aside = scene.letters()
    unknown = scene.unknown()
    proxy.fail(mode)
    scene.write(scene.value)
    until(lambda: gauge.total() == before + 1, START_S, "a known id goes on")
    scene.write(unknown)
    began_s = time.monotonic()
    until(lambda: run.probe("/readyz") == HTTPStatus.SERVICE_UNAVAILABLE, TOLD_S, "not ready")
    if mode == "silent":  # longer than the group would wait for a member that says nothing
        beyond = began_s + SESSION_S + 2
        until(lambda: time.monotonic() > beyond, TOLD_S, "the session is over")
    until(lambda: proxy.asked > 2, TOLD_S, "it is asked again")
    assert gauge.total() == before + 1
    assert run.probe("/livez") == HTTPStatus.OK
    assert run.probe("/readyz") == HTTPStatus.SERVICE_UNAVAILABLE
    assert proxy.asked < 10 * (time.monotonic() - began_s + 1), "it is not flooded"
    proxy.heal()
    until(lambda: gauge.total() == before + 2, BACK_S, "it goes on")
    until(lambda: run.probe("/readyz") == HTTPStatus.OK, BACK_S, "ready again")
    assert run.metric("headwater_rebalances_total") == rebalances
    assert scene.letters() == set_aside


def test_only_a_definite_no_sets_a_record_aside(scene: Scene) -> None:
    """The registry's own 404, heard through the same proxy."""
    scene.write(b"\0\x7f\xff\xff\xff" + scene.value[5:])
    before = scene.gauge.total()
    until(lambda: scene.gauge.total() > before, TOLD_S, "the registry has said no")
    *_, letter = scene.letters()
    assert dict(letter.headers)["headwater.error.code"] == b"UNKNOWN_SCHEMA_ID"
