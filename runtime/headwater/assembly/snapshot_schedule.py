"""Takes snapshots again and again, with metrics and probes, until a stop signal."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from headwater.assembly.snapshots import Snapshots
from headwater.clock import SYSTEM, Clock
from headwater.config import Settings
from headwater.errors import AbortableError, HeadwaterError, RetriableError
from headwater.observe.health import Health
from headwater.observe.logs import bind_process, get_logger
from headwater.observe.metrics import Metrics
from headwater.serve import start as serve
from headwater.snapshot.writer import Taken

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
BEAT_S: Final = 15.0  # well under HEARTBEAT_LIMIT_S: waiting for the next turn is being alive

OnTaken = Callable[[str, Taken], None]
OnTrouble = Callable[[HeadwaterError], None]

log = get_logger("snapshot")


class Schedule:
    """Takes the snapshots of one product every `interval_s` seconds, beginning now."""

    def __init__(self, snapshots: Snapshots, interval_s: float, *, clock: Clock = SYSTEM) -> None:
        self._snapshots = snapshots
        self._interval_s = interval_s
        self._clock = clock
        self._metrics = Metrics(snapshots.product)
        self._health = Health(clock=clock)
        self._stopped = threading.Event()

    def run(self, settings: Settings, on_taken: OnTaken, on_trouble: OnTrouble) -> None:
        """Serve metrics and probes, take snapshots until a stop signal, finish the one under way.

        Trouble that passes (storage, broker or registry away, another process was first) is told
        and tried again at the next turn: the table knows where to go on. Raises what does not pass.
        """
        bind_process(product=self._snapshots.product, instance=settings.instance)
        address = settings.metrics
        with (
            serve(self._health, self._metrics.registry, address.host, address.port) as server,
            self._stopping_on_signals(),
        ):
            log.info("snapshot.serving", host=address.host, port=server.port)
            self._health.started()
            self._health.assigned()
            while not self._stopped.is_set():
                due_s = self._clock.monotonic() + self._interval_s
                self._turn(on_taken, on_trouble)
                self._wait(due_s)

    def _turn(self, on_taken: OnTaken, on_trouble: OnTrouble) -> None:
        rows, cut_at_ms = 0, self._clock.wall_ms()
        try:
            for topic in self._snapshots.contracts:
                taken = self._snapshots.take(topic, lambda _done, _total: self._health.beat())
                rows += taken.rows_total
                on_taken(topic, taken)
        except (AbortableError, RetriableError) as error:
            self._health.waiting(error.code)
            on_trouble(error)
            return
        self._health.waiting(None)
        self._metrics.snapshot(rows=rows, cut_at_ms=cut_at_ms)

    def _wait(self, due_s: float) -> None:
        while not self._stopped.is_set() and (left := due_s - self._clock.monotonic()) > 0:
            self._health.beat()
            self._stopped.wait(min(left, BEAT_S))

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        def stop(_number: int, _frame: object) -> None:
            self._health.draining()
            self._stopped.set()

        previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
