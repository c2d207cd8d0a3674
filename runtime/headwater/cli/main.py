"""The command `headwater`: finds commands, prints errors as one sentence, exits by their code."""

import importlib
import sys
import traceback
from pathlib import Path
from typing import Final, cast

import typer
from typer.core import TyperCommand, TyperGroup

from headwater.errors import HeadwaterError, ProblemsError

COMMANDS: Final[dict[str, str]] = {
    # command -> module whose `app` is a typer.Typer; imported only when asked for, to start fast
    "check": "headwater.cli.check",
    "describe": "headwater.cli.describe",
    "test": "headwater.cli.test",
    "run": "headwater.cli.run",
    "register": "headwater.cli.register",
    "snapshot": "headwater.cli.snapshot",
    "verify": "headwater.cli.verify",
    "dev": "headwater.cli.dev",
    "demo": "headwater.cli.demo",
}
"""Every command and the module that holds it, in the order of `headwater --help`."""

INTERRUPTED_EXIT: Final = 130  # 128 + SIGINT, as shells expect


class LazyGroup(TyperGroup):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: object) -> list[str]:
        """All command names, in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | TyperGroup | None:
        """The command of this name, imported now; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        loaded = typer.main.get_command(importlib.import_module(COMMANDS[cmd_name]).app)
        command = cast(TyperCommand | TyperGroup, loaded)  # typer hides the common base
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    help="Run domain data products on event streams, exactly once.",
)


@app.callback()
def root() -> None:
    """Run domain data products on event streams, exactly once."""


def report(error: HeadwaterError) -> None:
    """Print an error as one sentence (or one line per problem) on standard error."""
    lines = error.problems if isinstance(error, ProblemsError) else [f"{error.code}: {error}"]
    for line in lines:
        print(line, file=sys.stderr)


def report_defect(error: Exception) -> None:
    """Print where a defect came up, without its message: libraries quote payloads there."""
    frames = traceback.extract_tb(error.__traceback__)
    print(
        f"INTERNAL: {type(error).__name__}, a defect of Headwater; please report:", file=sys.stderr
    )
    for frame in frames[-8:]:
        print(f"  {Path(frame.filename).name}:{frame.lineno} {frame.name}", file=sys.stderr)


def main() -> None:
    """Run the command line; the exit codes are those of `headwater.errors`."""
    try:
        app()
    except HeadwaterError as error:
        report(error)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001  # the last place before the user
        report_defect(error)
        sys.exit(HeadwaterError.exit_code)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED_EXIT)
