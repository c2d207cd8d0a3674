"""A command in this process, which starts at once; for where another would prove nothing more."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import structlog
from structlog.contextvars import clear_contextvars

from headwater.assembly import running
from headwater.assembly.letters import opening
from headwater.cli.main import main


@contextmanager
def project(folder: Path, settings: Mapping[str, str]) -> Iterator[pytest.MonkeyPatch]:
    """In the folder of a project, with these settings and no others of the environment."""
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
            patch.delenv(name)
        for name, value in settings.items():
            patch.setenv(name, value)
        for room in (running, opening):  # the alarm of this process is pytest's
            patch.setattr(room, "bounded", lambda loaded, _seconds: loaded)
        yield patch


def command(
    line: Sequence[str], folder: Path, settings: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run `headwater <line>` to its end."""
    out, err, code = StringIO(), StringIO(), 0
    with (
        project(folder, settings) as patch,
        _same_logs(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["headwater", *line])
        patch.setattr(sys, "stdin", StringIO())
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess([*line], code, out.getvalue(), err.getvalue())


@contextmanager
def _same_logs() -> Iterator[None]:
    """A command sets the logging up for its process; afterwards it is as before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.reset_defaults()
        clear_contextvars()
