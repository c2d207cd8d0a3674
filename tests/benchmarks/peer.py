"""Kafka Streams with RocksDB beside us: `kstreams/State.java`, compiled here.

Tuned as one would: exactly_once_v2, one thread, polls of 5,000 records, lz4, batches of 256 KiB,
the topic of a table is its changelog; caches of 10 MiB (the default) and of 64 MiB.
"""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headwater.embedded import artefacts

SOURCE: Final = Path(__file__).parent / "kstreams" / "State.java"
JARS: Final = (
    f"org.apache.kafka:kafka-streams:{artefacts.KAFKA_VERSION}",
    "org.apache.avro:avro:1.12.0",
    artefacts.KAFKA_LOGGING,
)
HEAP: Final = "-Xmx1g"  # RocksDB is beside it
COMPILE_S: Final = 120.0


class KafkaStreams:
    """The peer program, compiled into a folder."""

    def __init__(self, folder: Path) -> None:
        jars = [str(each) for each in artefacts.jars(JARS, artefacts.SILENT)]
        classes = folder / "classes"
        self._path = ":".join([str(classes), *jars])
        subprocess.run(
            ["javac", "--release", "17", "-cp", self._path, "-d", str(classes), str(SOURCE)],
            check=True,
            timeout=COMPILE_S,
        )

    def command(self) -> list[str]:
        """To be run with the environment that `State.java` reads."""
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", HEAP, quiet, "-cp", self._path, "State"]


def is_possible() -> bool:
    """Whether there is a compiler."""
    return shutil.which("javac") is not None and shutil.which("java") is not None


def environment(given: Mapping[str, str], **names: object) -> dict[str, str]:
    """Names as `State.java` knows them: JOB, GROUP, KAFKA, IN, OUT and so on."""
    return {**given, **{name.upper(): str(value) for name, value in names.items()}}
