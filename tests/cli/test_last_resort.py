"""What no part of Headwater expects ends a command with its type and place, and no more."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from tests.testing.conftest import Project

CANARY: Final = "canary-17"
STEP: Final = """\
    import asyncio

    class Panic(BaseException):
        pass

    def strange(event):
        raise {kind}(event["note"])
    orders = product.stream("shop.orders", contract=1)
    product.publish(orders.map_events(strange), contract=1)
"""


def run(root: Path, *arguments: str) -> tuple[int, str, str]:
    """A command in a process of its own: exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "headwater", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One product with one order as a sample, which carries the canary."""
    project = Project(tmp_path)
    project.passing("shop.a")
    project.sample("shop.a", "one.in.jsonl", [{"id": "a", "n": 1, "note": CANARY}])
    return project


@pytest.mark.parametrize("kind", ["asyncio.CancelledError", "SystemExit", "Panic", "ValueError"])
def test_whatever_a_step_raises_costs_the_record_alone(project: Project, kind: str) -> None:
    """As a failed record, and without the text."""
    project.product("shop.a", STEP.format(kind=kind))
    code, out, err = run(project.root, "test", "shop.a")
    assert (code, "STEP_FAILED" in out) == (1, True)  # the samples expect no dead letter
    assert CANARY not in out + err


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [("GeneratorExit", 70, "INTERNAL: GeneratorExit"), ("KeyboardInterrupt", 130, "Interrupted.")],
)
def test_what_passes_a_step_by_ends_the_command_without_its_text(
    project: Project, kind: str, code: int, told: str
) -> None:
    """No stack trace of Python's own, which would end with the text."""
    project.product("shop.a", STEP.format(kind=kind))
    found = run(project.root, "test", "shop.a")
    assert found[0] == code
    assert found[2].startswith(told)
    assert "Traceback" not in found[2]
    assert CANARY not in found[1] + found[2]


def test_a_product_that_panics_is_a_mistake_of_its_file(project: Project) -> None:
    """With file and line, like any other that cannot be run."""
    file = project.product("shop.a", "raise pl.exceptions.PanicException('no')\n")
    code, _, err = run(project.root, "check", "shop.a")
    assert (code, "Traceback" in err) == (78, False)
    assert f"{file.name}:5: PRODUCT_RAISED: PanicException: no" in err


def test_an_output_that_takes_no_more_is_told(project: Project) -> None:
    """A full disk is a sentence; whoever read and went away gets the exit of a broken pipe."""

    def run_into(output: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "headwater", "describe", "shop.a"],
            cwd=project.root,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stderr

    full = os.open("/dev/full", os.O_WRONLY)
    told = "BAD_VALUE: standard output cannot be written: No space left on device\n"
    assert run_into(full) == (78, told)
    read, write = os.pipe()
    os.close(read)
    assert run_into(write) == (141, "")
    os.close(full)
    os.close(write)
