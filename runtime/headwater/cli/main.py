"""The command `headwater`: finds commands, prints errors as one sentence, exits by their code."""

import errno
import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from headwater.cli.interruption import Interrupted, Kept
from headwater.errors import ConfigurationError, HeadwaterError, Problem, ProblemsError

COMMANDS: Final[Mapping[str, str]] = {
    "check": "Find every mistake in products, contracts and samples, without a broker.",
    "describe": "Print a product's inputs, steps, output contracts, rules and topics.",
    "test": "Run a product on its samples, without a broker, and show what differs.",
    "diff": "Compare the data that two definitions of a product make of the same real input.",
    "run": "Process products until stopped, or until the end of now.",
    "backfill": "Process an input's snapshot, where its log is gone; `run` goes on in the log.",
    "schema": "Show and compare versions of contracts, and the registry; pin what others publish.",
    "register": "Publish output contracts to the schema registry.",
    "snapshot": "Append what a product published since its last snapshot.",
    "pin": "Keep a cut of a product's snapshots readable, whatever its age.",
    "verify": "Compare a product's snapshots with its logs, row for row.",
    "stats": "Show the columns of a product's snapshots at a cut, or what moved since another.",
    "overlap": "Estimate how many keys two products have in common.",
    "read": "Print a product's events: its newest snapshot, then its log.",
    "sql": "Answer a query over the snapshots of products.",
    "check-data": "Ask the rules of a product's contracts of its snapshots.",
    "dead-letters": "List, show, replay and discard what a product set aside; skip what halts it.",
    "state": "Look at the local state of a product's steps.",
    "dev": "A real Kafka and schema registry on this machine.",
    "demo": "Real flights through two products, from feed to verified snapshot.",
}
"""Every command and its line of `headwater --help`, in the order of a product's life.

Each is a module of this room of that name (a dash becomes an underscore), imported only when used.
"""


LOST_OUTPUT: Final = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CLOSED_OUTPUT: Final = 141  # 128 + SIGPIPE, as shells expect


class LazyGroup(TyperGroup):
    """Imports a command's module when the command is used."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """As typer does it, but what ends it early is told as every other end is."""
        with _told():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """As typer does it, but what ends it early is told as every other end is."""
        with _told():
            return super().invoke(ctx)

    def list_commands(self, ctx: object) -> list[str]:
        """All command names, in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | None:
        """The line of a command in `headwater --help`; `resolve_command` brings the command."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names, imported now."""
        name, *rest = args
        if name not in COMMANDS:
            return super().resolve_command(ctx, args)
        module = importlib.import_module(f"headwater.cli.{name.replace('-', '_')}")
        command = typer.main.get_command(module.app)
        command.name = name
        _rejoin(command)
        return name, command, rest


@contextmanager
def _told() -> Iterator[None]:
    """Ctrl-C, of which typer would not say a word, and wrong usage, which it would exit 2 for.

    And an output that takes no more: a full disk, or who read it and has gone.
    """
    try:
        yield
        sys.stdout.flush()  # here, where what goes wrong can be told
    except KeyboardInterrupt as error:
        raise Interrupted(str(error) if isinstance(error, Kept) else "") from error
    except OSError as error:
        if error.filename is not None or error.errno not in LOST_OUTPUT:
            raise
        _let_go_of_output()
        if error.errno == errno.EPIPE:  # typer's exit would be that of a check that failed
            raise typer.Exit(CLOSED_OUTPUT) from error
        text = f"standard output cannot be written: {os.strerror(error.errno)}"
        raise ConfigurationError([Problem("BAD_VALUE", text)]) from error
    except typer.TyperException as error:
        if not error.message:  # no arguments at all: the help page has been printed
            raise typer.Exit(ConfigurationError.exit_code) from error
        raise _usage(error) from error


def _let_go_of_output() -> None:
    """What is left of it goes nowhere: the interpreter flushes at its end, and would complain."""
    with suppress(OSError):  # a stream of a test has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: typer.TyperException) -> ConfigurationError:
    said = error.format_message().replace(": Value error, ", ": ")  # a word of the library's
    stop = "" if said.endswith((".", "?")) else "."
    context = getattr(error, "ctx", None)
    where = "headwater" if context is None else context.command_path
    return ConfigurationError([Problem("USAGE", f"{said}{stop} See `{where} --help`.")])


def _rejoin(command: Any) -> None:
    """Let paragraphs of help flow: typer keeps the line breaks of a docstring, but for the first.

    They are wrapped as wide as the terminal is, not as the source is.
    """
    paragraphs = cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    for inner in getattr(command, "commands", {}).values():
        _rejoin(inner)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    help="Run domain data products on event streams, exactly once.",
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version  # noqa: PLC0415  # a third of the time of a help page

        print(f"headwater {version('headwater')}")
        raise typer.Exit


@app.callback(
    epilog="Example: headwater dev up && headwater demo feed && "
    "headwater run operations.departure-delays --until-end"
)
def root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Run domain data products on event streams, exactly once."""


def report(error: HeadwaterError) -> None:
    """Print an error as one sentence (or one line per problem) on standard error."""
    for problem in _problems(error):
        print(problem, file=sys.stderr)


def report_as_json(error: HeadwaterError) -> None:
    """Print the problems on standard output: `{"problems": [{code, message, file, line}]}`."""
    print(json.dumps({"problems": [asdict(problem) for problem in _problems(error)]}))


def _problems(error: HeadwaterError) -> Sequence[Problem]:
    if isinstance(error, ProblemsError):
        return error.problems
    return [Problem(error.code, str(error))]


def _wants_json(arguments: Sequence[str]) -> bool:
    return "--format=json" in arguments or ("--format", "json") in pairwise(arguments)


def report_defect(error: BaseException) -> None:
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
        app(prog_name="headwater")
    except Interrupted as error:
        print(error, file=sys.stderr)
        sys.exit(Interrupted.exit_code)
    except HeadwaterError as error:
        report(error)
        # a refusal is all the answer there is; any other error may follow half an answer
        if error.exit_code == ProblemsError.exit_code and _wants_json(sys.argv):
            report_as_json(error)
        sys.exit(error.exit_code)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  # the last place before the user
        report_defect(error)
        sys.exit(HeadwaterError.exit_code)
