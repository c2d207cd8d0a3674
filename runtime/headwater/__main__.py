"""`python -m headwater`: the command, for child processes and places without scripts."""

from headwater.cli.main import main

if __name__ == "__main__":
    main()
