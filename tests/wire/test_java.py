"""Java's Avro serdes write what products read, and read what products write."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.wire.airport import Airport

from headwater.adapters.registry import SchemaRegistry
from headwater.embedded import artefacts

SERDES = (
    "io.apicurio:apicurio-registry-avro-serde-kafka:3.1.7",  # Confluent's own is not on Central
    "org.apache.groovy:groovy:4.0.28",  # compiles the script: there is no javac here
    "org.slf4j:slf4j-simple:1.7.36",
)
SCRIPT = Path(__file__).parent / "gates.groovy"
COUNT = 50
LIMIT_S = 90  # a JVM with a script to compile, on a crowded machine


@pytest.mark.kafka
@pytest.mark.faults
@pytest.mark.timeout(300)  # the first time everything is downloaded
def test_java_and_headwater_read_each_other(airport: Airport) -> None:
    """In the frame of magic and id, through a topic each way."""
    jars = artefacts.jars(SERDES, artefacts.SILENT)
    source = airport.topic("gates")
    airport.contract("gates", "Gate")
    airport.contract("copy", "Gate")
    product = airport.product(
        "copy",
        f'product.publish(product.stream("{source}", contract=1), contract=1)',
    )
    schema = airport.schema("Gate")
    registry = SchemaRegistry({"url": airport.addresses.registry})
    registry.register(f"{source}-value", schema, compatibility="NONE")
    registry.close()
    java(airport, jars, "write", source, schema)
    airport.run(product)
    assert airport.letters(product) == []
    wanted = [{"gate": f"gate {n}", "number": n} for n in range(COUNT)]
    assert airport.read(product, airport.addresses.registry) == wanted
    read = java(airport, jars, "read", product, schema)
    assert [json.loads(line) for line in read.splitlines()] == wanted


def java(airport: Airport, jars: Sequence[Path], mode: str, topic: str, schema: str) -> str:
    """Run the script; what it prints."""
    executable = artefacts.install(artefacts.SILENT).java
    own = airport.addresses.registry.replace("/apis/ccompat/v7", "/apis/registry/v3")
    arguments = [mode, airport.addresses.kafka, own, topic, str(COUNT), schema]
    path = ":".join(map(str, jars))
    done = subprocess.run(
        [executable, "-cp", path, "groovy.ui.GroovyMain", str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
