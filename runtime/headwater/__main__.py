"""The command `headwater`: ready for Ctrl-C before anything else is imported."""

import gc
import sys

OBJECTS_OF_IMPORTS = 150_000  # `headwater run` makes 124,000, hardly any of them in a cycle


def main() -> None:
    """Run the command line. Ctrl-C while it is imported is told as it is later: one line, 130."""
    gc.set_threshold(OBJECTS_OF_IMPORTS)  # else a tenth of the time to start goes into searching
    try:
        from headwater.cli.main import main as run  # noqa: PLC0415  # takes time: see above

        run()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201  # before the room that prints is there
        sys.exit(130)  # 128 + SIGINT, as shells expect


if __name__ == "__main__":
    main()
