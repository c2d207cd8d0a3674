"""The Docker stack, read and compared: no Docker engine is needed to keep it honest."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.embedded import artefacts, services

FILE = Path(__file__).parents[2] / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The parsed file."""
    parsed: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())
    return parsed["services"]


def as_variable(setting: str) -> str:
    """How the images spell a setting as a variable of the environment."""
    return setting.upper().replace(".", "_").replace("-", "_")


def test_the_images_are_the_versions_of_the_embedded_stack(compose: dict[str, Any]) -> None:
    """Pinned by tag, and pinned to what `headwater dev up` runs."""
    assert {name: service["image"] for name, service in compose.items()} == {
        "kafka": f"apache/kafka:{artefacts.KAFKA_VERSION}",
        "registry": f"apicurio/apicurio-registry:{artefacts.REGISTRY_VERSION}",
    }


def test_the_broker_has_every_setting_of_the_embedded_one(compose: dict[str, Any]) -> None:
    """A setting added to the embedded broker is added here, with the same value."""
    environment = compose["kafka"]["environment"]
    wanted = {f"KAFKA_{as_variable(key)}": val for key, val in services.BROKER_SETTINGS.items()}
    assert wanted.items() <= environment.items()
    assert environment["KAFKA_HEAP_OPTS"] == services.KAFKA_HEAP


def test_the_registry_has_the_storage_of_the_embedded_one(compose: dict[str, Any]) -> None:
    """The same store with the same heap; only the listening address belongs to the container."""
    environment = compose["registry"]["environment"]
    for key, value in services.REGISTRY_SETTINGS.items():
        if key.startswith("apicurio."):
            assert environment[as_variable(key)] == value
    assert environment["APICURIO_DATASOURCE_URL"].startswith("jdbc:h2:file:/data/")
    assert services.REGISTRY_HEAP in environment["JAVA_OPTS_APPEND"].split()


def test_only_this_machine_reaches_the_ports(compose: dict[str, Any]) -> None:
    """Each published port is bound to loopback and is the one the service listens on."""
    published = {name: service["ports"] for name, service in compose.items()}
    assert published == {"kafka": ["127.0.0.1:9092:9092"], "registry": ["127.0.0.1:8080:8080"]}
    environment = compose["kafka"]["environment"]
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:9092"
    assert "PLAINTEXT://0.0.0.0:9092" in environment["KAFKA_LISTENERS"].split(",")
    assert compose["registry"]["environment"]["QUARKUS_HTTP_PORT"] == "8080"


def test_the_data_outlive_the_containers(compose: dict[str, Any]) -> None:
    """Log and schemas lie in named volumes, where the services write."""
    assert compose["kafka"]["volumes"] == [
        f"kafka:{compose['kafka']['environment']['KAFKA_LOG_DIRS']}"
    ]
    assert compose["registry"]["volumes"] == ["registry:/data"]
    assert set(yaml.safe_load(FILE.read_text())["volumes"]) == {"kafka", "registry"}


def test_the_health_checks_ask_what_clients_ask(compose: dict[str, Any]) -> None:
    """Kafka is asked on its published port, the registry at its Confluent interface."""
    assert compose["kafka"]["healthcheck"]["test"][-1] == "127.0.0.1:9092"
    command = compose["registry"]["healthcheck"]["test"][-1]
    assert f"GET {services.REGISTRY_PATH}/subjects " in command
    assert "/dev/tcp/127.0.0.1/8080" in command


@pytest.fixture
def registry_that_says() -> Iterator[Any]:
    """Start a server that answers every request with the given status; its port."""
    servers = []

    def start(status: int) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return server.server_port

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (500, False)])
def test_the_registry_check_tells_well_from_ill(
    compose: dict[str, Any], registry_that_says: Any, status: int, *, healthy: bool
) -> None:
    """The very command of the file, run against a server that is well and one that is not."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    port = registry_that_says(status)
    command = compose["registry"]["healthcheck"]["test"][-1].replace("/8080", f"/{port}")
    answer = subprocess.run([bash, "-c", command], capture_output=True, timeout=10, check=False)
    assert (answer.returncode == 0) is healthy
