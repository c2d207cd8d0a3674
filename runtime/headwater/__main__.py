"""The command `headwater`: ready for Ctrl-C before anything else is imported."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C while it is imported is told as it is later: one line, 130."""
    try:
        from headwater.cli.main import main as run  # noqa: PLC0415  # takes time: see above

        run()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201  # before the room that prints is there
        sys.exit(130)  # 128 + SIGINT, as shells expect


if __name__ == "__main__":
    main()
