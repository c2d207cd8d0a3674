"""How the two services are started and how they answer: one class, two sets of settings."""

import base64
import os
import socket
import struct
import subprocess
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Protocol

from headwater.embedded.artefacts import Installation
from headwater.errors import UnavailableError

HOST: Final = "127.0.0.1"  # loopback only: there is no password

KAFKA_HEAP: Final = "-Xmx768m"  # enough for 300k events/s at the batch sizes of the runtime
REGISTRY_HEAP: Final = "-Xmx384m"  # it holds some hundred schemas
REGISTRY_PATH: Final = "/apis/ccompat/v7"  # Apicurio's Confluent-compatible interface

FORMAT_S: Final = 60.0  # formatting takes 2 s; this is a slow machine's bound
ANSWER_S: Final = 2.0  # one question to a service on the same machine

BROKER_SETTINGS: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",  # a misspelt topic is an error, not an empty topic
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # one broker, few groups: 50 partitions each would only cost start time and file handles
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",  # one machine: nobody to wait for
    # A broker that was killed takes itself for the leader until its own old session has timed out.
    # What it ends in between never reaches the partitions: with no leader, they pass for deleted
    # (KAFKA-20734), and the transaction hangs for ever. So it looks for transactions to end when
    # that session is over for certain, and the session is short.
    "broker.session.timeout.ms": "6000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
}
"""What the broker is told besides ports and directories."""

REGISTRY_SETTINGS: Final[Mapping[str, str]] = {
    "quarkus.http.host": HOST,
    "quarkus.management.host": HOST,
    "quarkus.management.port": "0",  # any free port: nobody asks there
    "apicurio.storage.kind": "sql",
    "apicurio.storage.sql.kind": "h2",
}
"""What the registry is told besides its port and its file."""

_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Never through a proxy of the environment: it could not reach this machine's loopback."""

_JAVA_OPTIONS: Final = (
    "-XX:+UseSerialGC",  # two services on a small machine: threads are worth more than pauses
    "-Djava.awt.headless=true",
    "-Dfile.encoding=UTF-8",
)
_FOREIGN_JAVA_VARIABLES: Final = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")
_KAFKA_JAVA_OPTIONS: Final = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    # this Kafka still uses both; this Java would warn of it in the first lines of every log
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


class Service(Protocol):
    """A program that listens on one port and keeps its data in one directory."""

    name: ClassVar[str]
    title: ClassVar[str]

    def prepare(self, data: Path, port: int) -> list[str]:
        """Make `data` ready; return the command that serves it on `port` in the foreground."""
        ...

    @staticmethod
    def address(port: int) -> str:
        """How clients name the service that listens on `port`."""
        ...

    @staticmethod
    def answers(port: int) -> bool:
        """Whether it does its work now."""
        ...


@dataclass(frozen=True, slots=True)
class Broker:
    """Apache Kafka, broker and controller in one process."""

    programs: Installation
    name: ClassVar[str] = "kafka"
    title: ClassVar[str] = "Kafka"

    def prepare(self, data: Path, port: int) -> list[str]:
        """Write the settings; format the directory before its first use."""
        data.mkdir(parents=True, exist_ok=True)
        controller = free_port()
        settings = {
            **BROKER_SETTINGS,
            "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
            # voters are no part of the stored data, so the port may change with every start
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "log.dirs": str(data / "log"),
        }
        lines = (f"{key}={value}\n" for key, value in settings.items())
        (data / "server.properties").write_text("".join(lines))
        if not (data / "log" / "meta.properties").exists():
            self._format(data)
        return [*self._java(KAFKA_HEAP), "kafka.Kafka", str(data / "server.properties")]

    def _format(self, data: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # with "=", because an id may begin with "-"
        arguments = ["format", f"--cluster-id={cluster}", "--config", f"{data}/server.properties"]
        done = subprocess.run(
            [*self._java("-XX:TieredStopAtLevel=1"), "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            env=java_environment(),
            timeout=FORMAT_S,
            check=False,
        )
        if done.returncode != 0:
            reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise UnavailableError(
                f"{data} could not be prepared for Kafka: {' '.join(reason)}", code="STACK_FAILED"
            )

    def _java(self, *options: str) -> list[str]:
        java, classpath = str(self.programs.java), f"{self.programs.kafka}/*"
        return [java, *_JAVA_OPTIONS, *_KAFKA_JAVA_OPTIONS, *options, "-cp", classpath]

    @staticmethod
    def address(port: int) -> str:
        """host:port, as `bootstrap.servers` wants it."""
        return f"{HOST}:{port}"

    @staticmethod
    def answers(port: int) -> bool:
        """Whether the cluster lists a broker that takes work; an open port says less."""
        try:
            with socket.create_connection((HOST, port), timeout=ANSWER_S) as connection:
                connection.sendall(_METADATA_REQUEST)
                with connection.makefile("rb") as stream:
                    reply = stream.read(_METADATA_HEAD.size)
        except OSError:
            return False
        if len(reply) < _METADATA_HEAD.size:
            return False
        brokers: int = _METADATA_HEAD.unpack(reply)[3]
        return brokers > 0


# Kafka's own client is behind another door, and one question needs no client: Metadata v4
# (length, api key, version, correlation id, client id null, no topics, no topic creation).
_METADATA_REQUEST: Final = struct.pack(">ihhihib", 15, 3, 4, 1, -1, 0, 0)
_METADATA_HEAD: Final = struct.Struct(">iiii")  # length, correlation id, throttle ms, brokers


@dataclass(frozen=True, slots=True)
class SchemaRegistry:
    """Apicurio Registry with its schemas in an H2 file."""

    programs: Installation
    name: ClassVar[str] = "registry"
    title: ClassVar[str] = "the registry"

    def prepare(self, data: Path, port: int) -> list[str]:
        """Make the directory of the database file, which the registry itself fills."""
        data.mkdir(parents=True, exist_ok=True)
        settings = {
            **REGISTRY_SETTINGS,
            "quarkus.http.port": str(port),
            "apicurio.datasource.url": f"jdbc:h2:file:{data}/schemas",
        }
        options = [f"-D{key}={value}" for key, value in settings.items()]
        # up in 6 s with the first compiler only; the second would pay off after minutes
        start = [*_JAVA_OPTIONS, "-XX:TieredStopAtLevel=1", REGISTRY_HEAP]
        jar = str(self.programs.registry / "quarkus-run.jar")
        return [str(self.programs.java), *start, *options, "-jar", jar]

    @staticmethod
    def address(port: int) -> str:
        """The URL for clients of the Confluent interface."""
        return f"http://{HOST}:{port}{REGISTRY_PATH}"

    @staticmethod
    def answers(port: int) -> bool:
        """Whether it lists its subjects, which asks the database too."""
        try:
            # plain HTTP to this machine: the address is ours
            with _DIRECT.open(f"{SchemaRegistry.address(port)}/subjects", timeout=ANSWER_S):
                return True
        except OSError:  # URLError and HTTPError are
            return False


def java_environment() -> dict[str, str]:
    """Our environment without the variables that would change how our Java starts."""
    return {key: value for key, value in os.environ.items() if key not in _FOREIGN_JAVA_VARIABLES}


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a service could listen on `port` now; one that lately closed does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
