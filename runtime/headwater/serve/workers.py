"""One address for the workers of a product: they are asked when somebody asks, and told apart."""

import http.client
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from headwater.observe import Verdict, get_logger
from headwater.serve.server import OK_LINE, PROBES, Reply, Route, Server, listen, metrics, probe

ANSWER_S: Final = 2.0  # a worker on the same machine answers within milliseconds, or is stuck
LABEL: Final = "worker"

log = get_logger("serve")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a worker said; `status` is None before it listens, 504 when it did not answer."""

    status: int | None
    body: str = ""


class Workers(Collector):
    """The workers that listen on these Unix sockets, numbered as they come.

    A probe is passed when every worker passes it; a worker that starts is alive, but not ready.
    """

    def __init__(self, sockets: Sequence[Path]) -> None:
        self._sockets = sockets

    def collect(self) -> Iterator[Metric]:
        """The metrics of all, each with the label `worker`; none of one that does not answer."""
        merged: dict[str, Metric] = {}
        for worker, answer in enumerate(self._asked("/metrics")):
            if answer.status != HTTPStatus.OK:
                continue
            for family in text_string_to_metric_families(answer.body):
                held = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {LABEL: str(worker), **sample.labels}
                    held.add_sample(sample.name, labels, sample.value)
        yield from merged.values()

    def probe(self, path: str) -> Verdict:
        """The verdict of all on a probe; each line begins with the worker it is of."""
        reasons: list[str] = []
        notes: list[str] = []
        for worker, answer in enumerate(self._asked(path)):
            if answer.status is None:
                (notes if path == "/livez" else reasons).append(f"{LABEL} {worker}: starting")
                continue
            told = notes if answer.status == HTTPStatus.OK else reasons
            lines = [line for line in answer.body.splitlines() if line != OK_LINE]
            told.extend(f"{LABEL} {worker}: {line}" for line in lines)
        return Verdict(tuple(reasons), tuple(notes))

    def _asked(self, path: str) -> list[_Answer]:
        """What each says, all asked at once: one that is stuck holds up nobody else."""
        with ThreadPoolExecutor(len(self._sockets)) as threads:
            return list(threads.map(lambda each: _ask(each, path), self._sockets))


def start_gathering(sockets: Sequence[Path], host: str, port: int) -> Server:
    """Serve /metrics and the probes of all workers at one address; port 0 takes a free one.

    Raises ConfigurationError (PORT_TAKEN) when the address cannot be listened on.
    """
    workers, registry = Workers(sockets), CollectorRegistry()
    registry.register(workers)
    routes: dict[str, Route] = {path: _probing(workers, path) for path in PROBES}
    return listen({"/metrics": lambda accept: metrics(registry, accept), **routes}, host, port)


def _probing(workers: Workers, path: str) -> Route:
    def answer(_accept: str) -> Reply:
        return probe(workers.probe(path))

    return answer


def _ask(path: Path, route: str) -> _Answer:
    connection = _Connection(path)
    try:
        connection.request("GET", route)
        response = connection.getresponse()
        return _Answer(response.status, response.read().decode())
    except (FileNotFoundError, ConnectionRefusedError):
        return _Answer(None)
    except (OSError, http.client.HTTPException) as error:
        log.warning("serve.worker_silent", socket=path.name, error=type(error).__name__)
        return _Answer(HTTPStatus.GATEWAY_TIMEOUT, "does not answer")
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(str(self._path))
