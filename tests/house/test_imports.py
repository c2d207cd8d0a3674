"""What a command imports: people wait for a help page, and every start for its imports."""

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

HEAVY = {"confluent_kafka", "deltalake", "fastavro", "numpy", "obstore", "polars", "pyarrow"}
ICEBERG = {"pyiceberg", "sqlalchemy"}
HEAVY_OF_OURS = {"headwater.adapters", "headwater.contract", "headwater.engine", "headwater.flow"}
TOLD = """
import json, sys
sys.argv = ["headwater", *sys.argv[1:]]
try:
    from headwater.__main__ import main
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def imported(arguments: Sequence[str]) -> set[str]:
    """The modules that are there when `headwater` ends, in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", TOLD, *arguments], capture_output=True, check=False, text=True
    )
    return set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]], ids=" ".join)
def test_a_help_page_needs_no_broker_and_no_columns(arguments: Sequence[str]) -> None:
    """Whoever asks how to run something waits for a terminal, not for the libraries of a run."""
    modules = imported(arguments)
    assert "headwater.cli.main" in modules
    assert modules & (HEAVY | HEAVY_OF_OURS | ICEBERG) == set()


def test_a_run_imports_nothing_that_only_other_commands_need() -> None:
    """No snapshot is cut on the way to the first commit, and no object store asked by default."""
    modules = imported(["run", "no.such-product"])
    assert "headwater.engine.loop" in modules
    assert modules & {"avro", "deltalake", "jgo", "obstore", "pandas", "pyarrow.dataset"} == set()
    assert modules & ICEBERG == set()
