"""A product as several processes of this machine: who they are, and where all are asked."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from headwater.adapters.kafka.topics import KafkaTopics
from headwater.assembly.project import LoadedProduct
from headwater.config import Settings
from headwater.errors import StartRefusedError
from headwater.observe.logs import get_logger
from headwater.ports import Topics
from headwater.serve import start_gathering

WORKER: Final = "_HEADWATER_WORKER"  # in a child's environment: its number among the workers

log = get_logger("run")


def own_number() -> int | None:
    """The number of this process among the workers of its product; None for one that is alone."""
    number = os.environ.get(WORKER)
    return None if number is None else int(number)


def identity(product: str, instance: str) -> str:
    """The transactional id and group instance id of this process: stable over restarts."""
    return f"{product}.{instance}.{own_number() or 0}"


def require_work(loaded: LoadedProduct, workers: int, topics: Topics) -> None:
    """Refuse workers beyond the partitions of the largest input: they would never get a record.

    Raises StartRefusedError (TOO_MANY_WORKERS). An input that does not exist is for the start of
    the product to tell.
    """
    found = {each.topic: topics.partitions(each.topic) or 0 for each in loaded.product.inputs}
    topic, partitions = max(found.items(), key=lambda each: each[1])
    if 0 < partitions < workers:
        raise StartRefusedError(
            f"{loaded.name}: --workers {workers}, and {topic} has {partitions} partitions, each "
            f"of which one worker reads; ask for at most {partitions}",
            code="TOO_MANY_WORKERS",
        )


@contextmanager
def gathered(
    loaded: LoadedProduct, workers: int, settings: Settings, port: int
) -> Iterator[Sequence[Mapping[str, str]]]:
    """Serve metrics and probes of all workers at one port; the environment of each worker.

    Raises ConfigurationError (PORT_TAKEN), and what `require_work` does.
    """
    require_work(loaded, workers, KafkaTopics(settings.kafka))
    host = settings.metrics.host
    with TemporaryDirectory(prefix="headwater-") as folder:
        sockets = [Path(folder) / str(number) for number in range(workers)]
        with start_gathering(sockets, host, port) as server:
            log.info("run.serving", product=loaded.name, host=host, port=server.port)
            yield [
                {
                    WORKER: str(number),
                    "HEADWATER_METRICS__HOST": str(path),
                    "HEADWATER_METRICS__PORT": "0",
                }
                for number, path in enumerate(sockets)
            ]
